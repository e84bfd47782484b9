"""The end of a command's --help: the methods to choose from, and examples."""

import textwrap

from ream.commands.options import METHODS

_LINES = {
    "inspect": (
        "ream inspect Qwen/Qwen3-30B-A3B-Instruct-2507",
        "ream inspect models/my-model",
    ),
    "estimate": (
        "ream estimate models/my-model --experts 96",
        "ream estimate models/my-model --experts 64 --method reap --sequences 3072",
        "ream estimate Qwen/Qwen3-30B-A3B-Instruct-2507 --experts 96 --params qwen3-30b-a3b",
    ),
    "compress": (
        "ream compress models/my-model my-model-96 --experts 96",
        "ream compress models/my-model my-model-96 --experts 96 --method reap --mix general=0.3,code=0.7",
        "ream compress models/my-model my-model-96 --experts 96 --text notes/ --text problems.jsonl:solution=math",
        "ream compress models/my-model my-model-96 --experts 96 --calibration tokens.parquet",
        "ream compress models/my-model smaller --experts 96,64 --method reap --method ean --method ream",
        "ream compress Qwen/Qwen3-30B-A3B-Instruct-2507 qwen3-96 --experts 96 --params qwen3-30b-a3b --drop-shards",
    ),
    "evaluate": (
        "ream evaluate my-model-96 --suite demo",
        "ream evaluate my-model-96 --text notes/",
        "ream evaluate my-model-96 --params qwen3-30b-a3b --suite mc --limit 100 --out scores.json",
        "ream evaluate models/my-model --recipe my-model-96/ream/recipe.ream",
        "ream evaluate models/my-model --with-original --recipe a.ream --recipe b.ream --backend layers --suite mc",
        "ream evaluate my-model-96 --endpoint http://node7:8000/v1 --endpoint-model my-model-96 --suite gen",
    ),
    "compare": (
        "ream compare models/my-model my-model-96",
        "ream compare models/my-model my-model-96 --text notes/ --sequences 32 --tokens 512 --card",
    ),
    "params": (
        "ream params show qwen3-30b-a3b",
        "ream params resolve mine.yaml",
    ),
    "search": (
        "ream search models/my-model --method reap --experts 96 --objectives general,code",
        "ream search models/my-model --experts 96 --text notes.jsonl --trials 60 --target '0.7 notes + 0.3 general'",
    ),
    "init": (
        "ream init work --model models/my-model --experts 96 --experts 64",
        "ream init work --model Qwen/Qwen3-30B-A3B-Instruct-2507 --params qwen3-30b-a3b",
    ),
}
_WITH_METHODS = ("estimate", "compress", "search")
_METHODS = textwrap.fill(", ".join(METHODS), 76, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def examples(command: str) -> tuple[str, ...]:
    """The examples of a command, each a line; none for a command without."""
    return _LINES.get(command, ())


def ending(command: str) -> str | None:
    """What follows the options in the help of a command; None for a command without examples."""
    if not examples(command):
        return None
    blocks = [f"Methods:\n{_METHODS}"] if command in _WITH_METHODS else []
    blocks.append("Examples:\n" + "\n".join(f"  {line}" for line in examples(command)))
    return "\n\n".join(f"\b\n{block}" for block in blocks)  # after this mark typer keeps the lines as they are
