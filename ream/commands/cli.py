"""The command line. Heavy libraries are imported only by the commands that need them."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from ream import __version__
from ream.errors import UserError
from ream.machine.sharing import share_cores

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich's tables would take longer than all else that --help does
    pretty_exceptions_enable=False,
)

ParamsFile = Annotated[
    Path | None, typer.Option("--params", help="Params file [default: params.yaml here, else the one ream ships].")
]
# One model at a time: the graph's setting, by which stages share the cores, does not hold here.
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of a CPU [default: all cores].")]
GroupSize = Annotated[
    int | None, typer.Option(help="C, the most experts a centroid absorbs [default: of the params file, else 16].")
]
Sequences = Annotated[
    int | None, typer.Option(help="Sequences of each source; in all when sequential [default: of the params file].")
]
Tokens = Annotated[int | None, typer.Option(help="Tokens of a sequence [default: of the params file].")]
Probes = Annotated[int | None, typer.Option(help="Probe tokens of the alignment [default: of the params file].")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N [default: of the params file].")]
Dtype = Annotated[str | None, typer.Option(help="auto, float32 or bfloat16 [default: of the params file].")]
BatchTokens = Annotated[int | None, typer.Option(help="Tokens of a micro-batch [default: of the params file].")]
HiddenMemory = Annotated[
    float | None,
    typer.Option(help="GB of hidden states kept in memory; more lie in mapped files [default: of the params file]."),
]
MultiTokenLayers = Annotated[
    str | None, typer.Option(help="MTP layers: compress or drop [default: of the params file].")
]
MergeDtype = Annotated[
    str | None,
    typer.Option(help="Of quantised models: original or bfloat16 [default: merge.dtype, else their own format]."),
]
ShardSize = Annotated[
    float | None, typer.Option(help="GB up to which shards are filled [default: merge.shard_gb, else the original's].")
]
KeepShards = Annotated[
    bool | None,
    typer.Option(
        "--keep-shards/--drop-shards",
        help="Of a hub model: leave its shards in the hub's cache, or remove each after use [default: keep].",
        show_default=False,
    ),
]
ModelArgument = Annotated[str, typer.Argument(help="A hub id (owner/name, optional @revision) or a folder.")]


def tell_version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        typer.echo(f"ream {__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=tell_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Shrink Mixture-of-Experts language models by merging their experts, without training."""
    if context.obj is not None and context.invoked_subcommand not in ("compress", "stage"):
        raise UserError(f"ream {context.invoked_subcommand} is not shared out over ranks; run it without torchrun")


def check_shards(model: str, keep: bool | None) -> None:
    """Refuse to remove the shards of a folder: they can't be fetched again.

    Raises:
        UserError: --drop-shards with a folder.
    """
    if keep is False and Path(model).is_dir():
        raise UserError(
            f"--drop-shards is for models of the hub; '{model}' is a folder, whose shards stay: leave it out"
        )


def params_file(given: Path | None) -> Path:
    """The params file to use: the given one, ``params.yaml`` in this folder, or the one that comes with ream."""
    if given is not None:
        return given
    local = Path("params.yaml")
    return local if local.exists() else Path(__file__).parents[1] / "params" / "default.yaml"


@app.command()
def inspect(model: ModelArgument) -> None:
    """Say what a model is, and what would be compressed.

    Reads its config and the headers of its shards, of a folder without shards the config alone. Of a family without an
    entry: what an entry must contain.
    """
    from ream.machine.files import read_table
    from ream.models.family.families import FAMILIES, expert_counts, family_of
    from ream.models.inspection.describe import described, unknown_family
    from ream.models.inspection.headers import open_headers, shapes_of
    from ream.models.inspection.manifest import source_of

    source = source_of(model)
    config = read_table(source.folder / "config.json")
    if config.get("model_type") not in FAMILIES and expert_counts(config):
        print_rows(unknown_family(config, shapes_of(source)))
    family_of(config, model)
    print_rows(described(open_headers(source), model))


@app.command()
def estimate(
    model: ModelArgument,
    experts: Annotated[int, typer.Option(min=1, help="Experts to keep in every layer.")],
    method: Annotated[str, typer.Option(help="A method of the params file.")] = "ream",
    mix: Annotated[
        str | None, typer.Option(help="Ratios of sources, or a mix's name, as for compress [default: balanced].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that would be written: its disk must have room.")] = Path("."),
    group_size: GroupSize = None,
    sequences: Sequences = None,
    tokens: Tokens = None,
    probes: Probes = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    batch_tokens: BatchTokens = None,
    hidden_memory_gb: HiddenMemory = None,
    multi_token: MultiTokenLayers = None,
    merge_dtype: MergeDtype = None,
    params: ParamsFile = None,
) -> None:
    """Say what a compression would need before anything runs.

    Sizes, memory, disk, arithmetic and time, from the config and the headers of the shards, or the config alone where
    that is all there is. Ends with an error where this machine has no room for it.
    """
    from ream.commands.estimate import estimate_model
    from ream.commands.request import Request

    estimate_model(
        Request(
            model=model,
            out=out,
            experts=experts,
            method=method,
            mix=mix,
            calibration=None,
            group_size=group_size,
            overrides={
                "calibration": {"sequences": sequences, "tokens": tokens},
                "statistics": {"probes": probes},
                "model": {"multi_token": multi_token},
                "merge": {"dtype": merge_dtype},
                "compute": compute_overrides(device, dtype, threads, batch_tokens, hidden_memory_gb),
            },
        ),
        params_file(params),
        print_rows,
        warn,
    )


@app.command()
def compress(
    context: typer.Context,
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    experts: Annotated[int, typer.Option(min=1, help="Experts to keep in every layer.")],
    method: Annotated[str, typer.Option(help="A method of the params file.")] = "ream",
    mix: Annotated[
        str | None,
        typer.Option(help="Ratios of sources such as general=0.3,math=0.7, or a mix's name [default: balanced]."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Own tokens: Parquet rows {source, input_ids}; pooled as they are unless --mix weighs them."),
    ] = None,
    group_size: GroupSize = None,
    sequences: Sequences = None,
    tokens: Tokens = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the calibration sample [default: of the params file].")
    ] = None,
    probes: Probes = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
    batch_tokens: BatchTokens = None,
    hidden_memory_gb: HiddenMemory = None,
    multi_token: MultiTokenLayers = None,
    merge_dtype: MergeDtype = None,
    shard_size: ShardSize = None,
    keep_shards: KeepShards = None,
    params: ParamsFile = None,
) -> None:
    """Compress a model, all in one, without DVC.

    The same command goes on where a killed run stood.
    """
    from ream.commands.compress import compress_model
    from ream.commands.request import Request

    check_shards(model, keep_shards)
    compress_model(
        Request(
            model=model,
            out=out,
            experts=experts,
            method=method,
            mix=mix,
            calibration=calibration,
            group_size=group_size,
            overrides={
                "calibration": {"sequences": sequences, "tokens": tokens, "seed": seed},
                "statistics": {"probes": probes},
                "model": {"multi_token": multi_token, "keep_shards": keep_shards},
                "merge": {"dtype": merge_dtype, "shard_gb": shard_size},
                "compute": compute_overrides(device, dtype, threads, batch_tokens, hidden_memory_gb),
            },
        ),
        params_file(params),
        typer.echo,
        warn,
        context.obj,
    )


@app.command()
def apply(
    model: ModelArgument,
    recipe: Annotated[Path, typer.Argument(help="A recipe.safetensors.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    merge_dtype: MergeDtype = None,
    shard_size: ShardSize = None,
    keep_shards: KeepShards = None,
) -> None:
    """Write the checkpoint of a recipe from the original model."""
    from ream.models.family.architecture import architecture_of
    from ream.models.inspection.manifest import source_of
    from ream.models.storage.checkpoint import Checkpoint
    from ream.recipe.output import check_output, check_recipe, write_checkpoint
    from ream.recipe.recipe_file import load_recipe

    check_shards(model, keep_shards)
    check_output(out)
    if shard_size is not None and shard_size <= 0:
        raise UserError(f"--shard-size: {shard_size} is no size; give GB above 0, or leave it out")
    if merge_dtype not in (None, "original", "bfloat16"):
        raise UserError(f"--merge-dtype: '{merge_dtype}' is neither original nor bfloat16")
    loaded = load_recipe(recipe)
    checkpoint = Checkpoint(source_of(model, keep_shards is not False))
    check_recipe(loaded, checkpoint.digest(), model)
    parameters = write_checkpoint(
        checkpoint,
        architecture_of(checkpoint),
        loaded,
        out,
        unquantised=merge_dtype == "bfloat16",
        shard_gb=shard_size,
    )
    typer.echo(f"{out}: {parameters:,} parameters of the original's {checkpoint.parameters:,}")


@app.command()
def verify(out: Annotated[Path, typer.Argument(help="A folder that ream has written.")]) -> None:
    """Check a written model.

    Config, index, recipe, shapes, dtypes, finite values, and every file's SHA-256.
    """
    from ream.recipe.verify import verify as verified

    print_rows(verified(out))


@app.command()
def evaluate(
    model: ModelArgument,
    suite: Annotated[str | None, typer.Option(help="A suite of the params file [default: evaluation.suite].")] = None,
    recipe: Annotated[Path | None, typer.Option(help="Evaluate the model under this recipe, unwritten.")] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the results [default: print them].")] = None,
    backend: Annotated[str | None, typer.Option(help="hf or vllm [default: of the params file].")] = None,
    limit: Annotated[int | None, typer.Option(help="Items of each task [default: of the suite].")] = None,
    threads: Threads = None,
    allow_code_execution: Annotated[bool, typer.Option(help="Run generated code where a task asks for it.")] = False,
    params: ParamsFile = None,
) -> None:
    """Score a model on a suite of tasks.

    Multiple-choice (MC), generative (GEN) and held-out loss.
    """
    from ream.commands.evaluate import evaluate_alone

    evaluate_alone(
        params_file(params), model, suite, recipe, out, backend, limit, threads, allow_code_execution, typer.echo
    )


@app.command()
def stage(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")],
    source: Annotated[str | None, typer.Option(help="Calibration source.")] = None,
    mix: Annotated[str | None, typer.Option(help="Calibration mix.")] = None,
    method: Annotated[str | None, typer.Option(help="Method.")] = None,
    experts: Annotated[int | None, typer.Option(help="Experts kept.")] = None,
    export: Annotated[str | None, typer.Option(help="Export to write.")] = None,
    shard: Annotated[int | None, typer.Option(help="Of the statistics: this part of the sequences, from 0.")] = None,
    shards: Annotated[int | None, typer.Option(help="Parts in all; a run without adds them up.")] = None,
    params: ParamsFile = None,
    root: Annotated[Path, typer.Option(help="Folder of the artifacts.")] = Path("artifacts"),
    reports: Annotated[Path, typer.Option(help="Folder of the reports.")] = Path("reports"),
    models: Annotated[Path, typer.Option(help="Folder of the exported models.")] = Path("models"),
) -> None:
    """Run one stage of the graph; what dvc.yaml calls.

    It reads and writes the artifacts of this folder.
    """
    from ream.commands.stage import run_stage

    given = {"source": source, "mix": mix, "method": method, "experts": experts, "export": export}
    given |= {"shard": shard, "shards": shards}
    line = run_stage(name, given, params_file(params), root, reports, models, context.obj)
    if context.obj is None or context.obj.first:
        typer.echo(line)


def warn(text: str) -> None:
    """A line on stderr that stops nothing."""
    typer.echo(f"warning: {text}", err=True)


def compute_overrides(
    device: str | None, dtype: str | None, threads: int | None, batch_tokens: int | None, hidden_memory_gb: float | None
) -> dict[str, str | int | float | None]:
    """Of the params file's section compute; a command that runs alone takes all cores."""
    return {
        "device": device,
        "dtype": dtype,
        "threads": threads or "auto",
        "batch_tokens": batch_tokens,
        "hidden_memory_gb": hidden_memory_gb,
    }


def print_rows(rows: dict[str, str]) -> None:
    """Print names and values in two columns."""
    wide = max(map(len, rows))
    for name, value in rows.items():
        typer.echo(f"{name:<{wide}}  {value}")


def print_error(line: str) -> None:
    """What a user did wrong, in one line."""
    print(f"error: {line}", file=sys.stderr)


def main(application: typer.Typer = app) -> None:
    """Run a command line, ream's own or another: a user's error, in its words or its arguments, is one line and exit
    code 2. Of several processes of one torchrun, the first prints it and all end."""
    share_cores()
    ranks = None
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        from ream.walk.ranks import Ranks

        ranks = Ranks()
    tell = print_error if ranks is None else ranks.tell
    try:
        code = application(standalone_mode=False, obj=ranks)  # 0, or the code of a typer.Exit
        if ranks is not None:
            ranks.leave()
        sys.exit(code)
    except UserError as error:
        tell(str(error))
        sys.exit(2)
    except TyperException as error:  # a mistyped command or option; without any arguments, the message is the help
        if len(sys.argv) > 1:
            line = " ".join(error.format_message().split()).rstrip(".")
            tell(f"{line} (--help says what there is)")
        else:
            print(error.format_message())
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(1)


if __name__ == "__main__":
    main()
