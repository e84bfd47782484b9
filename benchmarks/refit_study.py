"""How much of the loss from removing experts a refit recovers on the demo model, by method, options and text.

    python benchmarks/refit_study.py run --folder FOLDER [--stage finalists] [--quick]
    python benchmarks/refit_study.py suite --folder FOLDER
    python benchmarks/refit_study.py table --folder FOLDER

``run`` measures the cells of a stage that FOLDER/cells.jsonl does not have yet and appends a line for each, so a
stopped study can be continued. ``suite`` scores a few cells on the demo's MC and GEN tasks (FOLDER/suite.jsonl).
``table`` writes the results into docs/refit.md, between the markers. One-shot REAP (same size, same seed, 32 sequences
of each source) increases the held-out loss; the recovered fraction is the part of that increase that a cell avoids.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from refit_bench import ROOT, Bench, suite_scores
from refit_cells import STAGES, Cell, scored, with_baselines
from refit_tables import suite_table, table

DOCUMENT = ROOT / "docs" / "refit.md"
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"


def read_lines(folder: Path, name: str = "cells.jsonl") -> dict[str, dict[str, Any]]:
    """Measured lines by the key of their cell; a line that a kill cut short is left out."""
    path, lines = folder / name, {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.endswith("}"):
            measured = json.loads(line)
            lines[Cell(**measured["cell"]).key] = measured
    return lines


def run(folder: Path, stage: str, seeds: list[int] | None = None, experts: list[int] | None = None) -> None:
    """Measure the cells of a stage that have not been measured.

    Args:
        folder: of the study.
        stage: a name from STAGES.
        seeds: only cells with these seeds; None for all.
        experts: only cells that keep these numbers of experts; None for all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cells = with_baselines(STAGES[stage]())
    done = read_lines(folder)
    todo = [cell for cell in cells if cell.key not in done]
    todo = [cell for cell in todo if (not seeds or cell.seed in seeds) and (not experts or cell.experts in experts)]
    if not todo:
        return
    torch.set_num_threads(1)
    bench = Bench(folder, max(cell.sequences for cell in todo))
    for number, cell in enumerate(todo, start=1):
        measured = bench.measured(cell)
        with open(folder / "cells.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(measured) + "\n")
        losses = " ".join(f"{source} {loss:.4f}" for source, loss in measured["loss"].items())
        print(f"{number}/{len(todo)} {cell.key}: {losses}, {measured['seconds']} s", flush=True)


def score_suite(folder: Path) -> None:
    """Score the cells of `scored` that FOLDER/suite.jsonl does not have yet."""
    torch.set_num_threads(1)
    done = read_lines(folder, "suite.jsonl")
    bench = Bench(folder, max(cell.sequences for cell in scored()))
    for cell in scored():
        if cell.key not in done:
            with open(folder / "suite.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(suite_scores(bench, cell, folder)) + "\n")


def write_table(folder: Path) -> None:
    """Write the tables between the markers of docs/refit.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    tables = f"{table(read_lines(folder))}\n\n{suite_table(read_lines(folder, 'suite.jsonl'))}".rstrip()
    DOCUMENT.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Run the action of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "suite", "table"])
    parser.add_argument("--folder", type=Path, default=ROOT / "artifacts" / ".study")
    parser.add_argument("--stage", choices=list(STAGES), default="finalists")
    parser.add_argument("--seeds", type=int, nargs="*", help="only cells with these seeds [default: all]")
    parser.add_argument("--experts", type=int, nargs="*", help="only cells that keep so many experts [default: all]")
    parser.add_argument("--quick", action="store_true", help="measure only two small cells, to try the script")
    arguments = parser.parse_args()
    if arguments.action == "table":
        write_table(arguments.folder)
    elif arguments.action == "suite":
        score_suite(arguments.folder)
    else:
        stage = "quick" if arguments.quick else arguments.stage
        run(arguments.folder, stage, arguments.seeds, arguments.experts)


if __name__ == "__main__":
    main()
