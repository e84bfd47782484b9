"""How long commands with little work take from the call to the end: `python benchmarks/starting.py` after `dvc repro`.

Each command runs as a process of its own, after a run that is not counted (which compiles bytecode and fills the disk's
cache), on a copy of this folder's artifacts. Told are the least wall seconds and, of the same run, the processor's
seconds (user and system, children included), which other work on the machine changes less.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from ream.params import load_params

REAM = (sys.executable, "-m", "ream.commands.cli")


def commands(folder: Path) -> dict[str, list[str]]:
    """Name to argument list; stages read and write artifacts in ``folder``."""
    params = load_params()
    mix, method = params.run.mixes[0], params.run.one_shot[0]
    clustering = next(name for name in params.run.one_shot if params.methods[name].grouping == "hierarchical")
    where = ["--root", folder / "artifacts", "--reports", folder / "reports", "--models", folder / "models"]
    stages = {
        "model": [],
        "calibration": ["--source", "math"],  # which is made: other text is read from all over the installation
        "saliency": ["--mix", mix],
        "grouping": ["--mix", mix, "--method", method],
        "grouping, hierarchical": ["--mix", mix, "--method", clustering],
        "merge": ["--export", next(iter(params.exports))],
    }
    ream = {
        "--help": ["--help"],
        "--version": ["--version"],
        "stage --help": ["stage", "--help"],
        "mistyped command": ["mistyped"],
        "inspect": ["inspect", params.model.path],
        "estimate": ["estimate", params.model.path, "--experts", str(params.run.experts[0])],
    } | {f"stage {name}": ["stage", name.split(",")[0], *options, *where] for name, options in stages.items()}
    listed = {name: [*REAM, *map(str, arguments)] for name, arguments in ream.items()}
    return {"python -c pass": [sys.executable, "-c", "pass"]} | listed


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a process and its children."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall, after = time.perf_counter() - started, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Counted runs of each command.")] = 5,
    only: Annotated[str, typer.Option(help="Commands whose names contain this.")] = "",
    graph: Annotated[bool, typer.Option(help="Also `dvc repro` here, where all must be up to date.")] = True,
) -> None:
    """Print a table of commands, wall seconds and processor seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for artifacts in ("artifacts", "reports", "models"):
            shutil.copytree(artifacts, folder / artifacts)
        todo = commands(folder) | ({"dvc repro": [sys.executable, "-m", "dvc", "repro"]} if graph else {})
        print("| `ream` | wall s | processor s |\n|---|---|---|")
        for label, arguments in todo.items():
            if only in label:
                seconds(arguments)
                wall, spent = min(seconds(arguments) for _ in range(repeats))
                print(f"| {label} | {wall:.2f} | {spent:.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
