"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from ream.machine.shipped import presets

# The methods of the params files that ream ships, in their order; a file of one's own may have others.
METHODS = (
    "frequency", "ean", "reap", "reap-sequential", "man", "man-sequential", "msan", "msan-sequential", "hope",
    "hope-sequential", "reap-super-experts", "m-smoe", "hc-smoe", "ream", "ream-released", "ream-frequency",
    "ream-ungated", "ream-no-gate-logits", "ream-nearest-centroid", "ream-activations-only", "ream-one-shot",
    "reap-refit", "ean-refit", "ream-refit", "neurons-refit", "neurons-fit", "best", "best-fit",
)  # fmt: skip


def complete_method(incomplete: str) -> list[str]:
    """The shipped methods that begin with a text, for the shell."""
    return [name for name in METHODS if name.startswith(incomplete)]


def complete_params(incomplete: str) -> list[str]:
    """The presets that begin with a text, and params files in the folder that it names, for the shell."""
    folder = Path(incomplete) if incomplete.endswith("/") else Path(incomplete).parent
    files = sorted(str(path) for path in folder.glob("*.yaml")) if folder.is_dir() else []
    return [name for name in (*presets(), *files) if name.startswith(incomplete)]


ModelArgument = Annotated[str, typer.Argument(help="A hub id (owner/name, optional @revision) or a folder.")]
OutArgument = Annotated[Path, typer.Argument(help="Folder to write; must be empty or not exist yet.")]
Experts = Annotated[int, typer.Option(min=1, help="K, the number of experts to keep in every layer.")]
Method = Annotated[
    str,
    typer.Option(
        autocompletion=complete_method, help="A method of the params file; those that ream ships are listed below."
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        autocompletion=complete_method,
        help="A method of the params file; those that ream ships are listed below. Repeatable [default: ream].",
        show_default=False,
    ),
]
Sizes = Annotated[
    str,
    typer.Option("--experts", metavar="K[,K...]", help="K, the number of experts to keep in every layer; or several."),
]
Mix = Annotated[
    str | None,
    typer.Option(help="Ratios of sources such as general=0.3,math=0.7, or the name of a mix [default: balanced]."),
]
GroupSize = Annotated[
    int | None,
    typer.Option(help="C, the most experts that a centroid absorbs [default: from the params file, else 16]."),
]
Sequences = Annotated[
    int | None,
    typer.Option(help="Calibration sequences, of all sources of the mix together [default: from the params file]."),
]
Tokens = Annotated[int | None, typer.Option(help="Tokens per sequence [default: from the params file].")]
Text = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATH[:COLUMN][=NAME]",
        help="Your own text: a file (.txt, .md, code, .jsonl, .json, .parquet, also .gz and .zst), a folder or a glob "
        "pattern; the column of its rows [default: text], and a name; repeatable. A tenth of it is held out, the same "
        "tenth in all commands.",
    ),
]
WholeText = Annotated[
    bool, typer.Option("--whole-text", help="Measure on all of --text, not on its held-out tenth alone.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [default: from the params file].")]
KeepShards = Annotated[
    bool | None,
    typer.Option(
        "--keep-shards/--drop-shards",
        help="Keep the shards of a hub model in the hub's cache, or remove each after use [default: keep].",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Any other setting of the params file, such as compute.threads=4; repeatable. Commands use all cores "
        "unless compute.threads is set.",
    ),
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="LAYER",
        help="A layer that keeps all its experts: an index, a pattern of names such as 'model.layers.1?', or re:REGEX; "
        "repeatable. Refused for layers with experts where config.json has one number of experts for all layers.",
    ),
]
ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params",
        metavar="FILE|PRESET",
        autocompletion=complete_params,
        help="Params file, or the name of a preset that ream ships, such as qwen3-30b-a3b [default: ./params.yaml, "
        "else the settings that ream ships].",
    ),
]


def sizes_of(experts: str) -> list[int]:
    """The numbers of experts to keep that ``--experts`` gives, each once, in their order.

    Raises:
        BadParameter: one is not a whole number of at least 1; usage errors are the command line's to show.
    """
    sizes = []
    for part in experts.split(","):
        try:
            sizes.append(int(part))
        except ValueError:
            raise typer.BadParameter(
                f"'{part.strip()}' is not a valid integer; give a number, or several as in 96,64.",
                param_hint="'--experts'",
            ) from None
        if sizes[-1] < 1:
            raise typer.BadParameter(f"{sizes[-1]} is not in the range x>=1.", param_hint="'--experts'")
    return list(dict.fromkeys(sizes))


# Former options of commands, with the settings that took their place.
REPLACED = {
    "--probes": "statistics.probes",
    "--dtype": "compute.dtype",
    "--threads": "compute.threads",
    "--batch-tokens": "compute.batch_tokens",
    "--hidden-memory-gb": "compute.hidden_memory_gb",
    "--multi-token": "model.multi_token",
    "--merge-dtype": "merge.dtype",
    "--shard-size": "merge.shard_gb",
    "--seed": "calibration.seed",
}
WITH_SETTINGS = ("compress", "estimate", "evaluate", "compare", "search")


def replacement(command: str | None, option: str) -> str | None:
    """A line that names the setting which took the place of a former option; None for any other option."""
    if command not in WITH_SETTINGS or option not in REPLACED:
        return None
    return f"{option} is not an option of ream {command}; use --set {REPLACED[option]}=VALUE"
