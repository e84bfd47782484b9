"""How long short commands take from start to end: `python benchmarks/starting.py` after `dvc repro`.

Each command runs in its own process, on a copy of this folder's artifacts, after an uncounted run that compiles
bytecode and fills the disk cache. Printed are the wall seconds of the fastest run and the processor seconds of that
run (user and system, with children), which depend less on other work on the machine.
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
    """The commands by name, as argument lists; stages read and write artifacts in a folder."""
    params = load_params()
    mix, method = params.run.mixes[0], params.run.one_shot[0]
    clustering = next(name for name in params.run.one_shot if params.methods[name].grouping == "hierarchical")
    folders = ["--root", folder / "artifacts", "--reports", folder / "reports", "--models", folder / "models"]
    stages = {
        "model": [],
        "calibration": [
            "--source",
            "math",
        ],  # text that is generated; other sources read files of the whole installation
        "saliency": ["--mix", mix],
        "grouping": ["--mix", mix, "--method", method, "--experts", str(params.run.experts[0])],
        "grouping, hierarchical": ["--mix", mix, "--method", clustering, "--experts", str(params.run.experts[0])],
        "merge": ["--export", next(iter(params.exports))],
    }
    ream = {
        "--help": ["--help"],
        "--version": ["--version"],
        "stage --help": ["stage", "--help"],
        "mistyped command": ["mistyped"],
        "inspect": ["inspect", params.model.path],
        "estimate": ["estimate", params.model.path, "--experts", str(params.run.experts[0])],
    } | {f"stage {name}": ["stage", name.split(",")[0], *options, *folders] for name, options in stages.items()}
    complete = {name: [*REAM, *map(str, arguments)] for name, arguments in ream.items()}
    return {"python -c pass": [sys.executable, "-c", "pass"]} | complete


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall seconds and processor seconds of a process and its children."""
    before, started = os.times(), time.perf_counter()
    subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    wall, after = time.perf_counter() - started, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Counted runs of each command.")] = 5,
    only: Annotated[str, typer.Option(help="Only commands whose names contain this.")] = "",
    graph: Annotated[
        bool, typer.Option(help="Also `dvc repro` in this folder, where everything must be up to date.")
    ] = True,
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
