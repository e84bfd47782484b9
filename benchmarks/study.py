"""The study of methods: trained models, seeds and sizes, by the graph; one table of what each method takes back.

    python -m benchmarks.study run FOLDER data/demo-model data/study-glm data/study-mixtral --seeds 0,1,2
    python -m benchmarks.study run FOLDER data/study-glm --seeds 0 --methods reap-refit,best --sizes 0.5 --sequences 96
    python -m benchmarks.study table FOLDER                  # prints the table of all that FOLDER has

Each model and seed has a workspace in FOLDER, made by `ream init` from params/study.yaml, and `dvc repro` runs it: a
study that was stopped goes on, and one with more methods runs only what is new. The seed is that of the calibration
text. C is half the number of removed experts, as in the paper. What a run has measured stays in the workspace's
measured.json when the next run asks for other sizes or methods, so the table has it, whatever code it is of.
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from ream.analysis.tables.pipes import pipe_table
from ream.evaluation.rank_records import read_ranks
from ream.evaluation.scores import Cell, read_scores
from ream.machine.files import read_json, write_json
from ream.models.inspection.headers import open_headers
from ream.params.reading import load_params
from ream.workspace.layout import Workspace

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "params" / "study.yaml"
MIX, BASELINE = "balanced", "reap"
MEASURED = "measured.json"  # in a workspace


@dataclass(frozen=True)
class Measured:
    """One compressed model of the study.

    Attributes:
        share: of the experts that are kept.
        taken_back: fraction of the increase in held-out loss by one-shot REAP's pruning that the method avoids: of each
            source, and of the mean loss under "mean".
        loss: mean held-out loss, nats a token.
        kl: mean KL divergence from the original's predictions, nats a token.
        mc: mean of the multiple-choice tasks, percent.
        gen: mean of the generative tasks, percent.
    """

    model: str
    seed: int
    method: str
    share: Fraction
    taken_back: Mapping[str, float]
    loss: float
    kl: float
    mc: float
    gen: float


def main() -> None:
    """Run the study, or print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    runs = actions.add_parser("run")
    runs.add_argument("folder", type=Path)
    runs.add_argument("models", type=Path, nargs="+")
    runs.add_argument("--seeds", default="0,1,2", help="of the calibration text")
    runs.add_argument("--sizes", default="0.75,0.5,0.25", help="shares of the experts that are kept")
    runs.add_argument("--methods", help="some of params/study.yaml's methods; reap, the baseline, is always there")
    runs.add_argument("--sequences", type=int, help="calibration sequences of the mix; params/study.yaml's by default")
    tables = actions.add_parser("table")
    tables.add_argument("folder", type=Path)
    given = parser.parse_args()
    if given.action == "table":
        print(table(measured(given.folder)))
        return
    sizes = [Fraction(size) for size in given.sizes.split(",")]
    methods = None if given.methods is None else given.methods.split(",")
    for seed in map(int, given.seeds.split(",")):
        for model in given.models:
            workspace = given.folder / f"{model.name}-{seed}"
            settings = settings_of(model, seed, sizes, methods, given.sequences)
            begin(workspace, model, settings)
            subprocess.run([sys.executable, "-m", "flows.quick_dvc", "repro"], cwd=workspace, env=here(), check=True)
            keep(workspace)
            print(table(measured(given.folder)), flush=True)


def here() -> dict[str, str]:
    """The environment of a workspace's commands: the code of this checkout."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def settings_of(
    model: Path, seed: int, sizes: Sequence[Fraction], methods: Sequence[str] | None, sequences: int | None
) -> dict[str, Any]:
    """The study's settings for a model and a seed, as a params file over params/study.yaml."""
    run = load_params(STUDY).run
    known = [*run.one_shot, *run.sequential]
    chosen = known if methods is None else [BASELINE, *methods]
    if unknown := set(chosen) - set(known):
        sys.exit(f"{STUDY} runs no {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    experts = open_headers(str(model)).architecture.experts
    kept = [int(share * experts) for share in sizes]
    calibration = {"seed": seed} if sequences is None else {"seed": seed, "sequences": sequences}
    return {
        "extends": str(STUDY),
        "calibration": calibration,
        "grouping": {"group_size": {number: max(1, (experts - number) // 2) for number in kept}},
        "run": {
            "experts": kept,
            "one_shot": [name for name in run.one_shot if name in chosen],
            "sequential": [name for name in run.sequential if name in chosen],
        },
    }


def begin(workspace: Path, model: Path, settings: Mapping[str, Any]) -> None:
    """Make the workspace, or give it these settings where it is there."""
    workspace.mkdir(parents=True, exist_ok=True)
    overlay = workspace / "study.yaml"
    overlay.write_text(yaml.safe_dump(dict(settings)))
    experts = [word for number in settings["run"]["experts"] for word in ("--experts", str(number))]
    made = workspace if not (workspace / "dvc.yaml").exists() else workspace / "made"
    shutil.rmtree(workspace / "made", ignore_errors=True)
    command = ["init", str(made), "--model", str(model.resolve()), "--params", str(overlay), *experts]
    subprocess.run([sys.executable, "-m", "ream", *command], env=here(), check=True)
    if made != workspace:
        shutil.copy(made / "params.yaml", workspace)
        shutil.rmtree(made)


def keep(workspace: Path) -> None:
    """Write what the graph of a workspace has measured beside what earlier runs have."""
    rows = {_place(row): row for row in [*_kept(workspace), *_rows(workspace)]}
    told = []
    for row in rows.values():
        back = {name: None if math.isnan(value) else value for name, value in row.taken_back.items()}  # JSON has no NaN
        told.append(asdict(row) | {"share": str(row.share), "taken_back": back})
    write_json(workspace / MEASURED, told)


def measured(folder: Path) -> list[Measured]:
    """All compressed models of the study that are evaluated."""
    return [row for path in sorted(folder.glob(f"*/{MEASURED}")) for row in _kept(path.parent)]


def _kept(workspace: Path) -> list[Measured]:
    """What earlier runs of a workspace have measured."""
    path = workspace / MEASURED
    rows = read_json(path) if path.exists() else []
    for row in rows:
        row["taken_back"] = {name: math.nan if value is None else value for name, value in row["taken_back"].items()}
    return [Measured(**row | {"share": Fraction(row["share"])}) for row in rows]


def _place(row: Measured) -> tuple[str, Fraction]:
    """Which model of its workspace a row is of."""
    return row.method, row.share


def _rows(folder: Path) -> Iterator[Measured]:
    """What the graph of a workspace has measured; it is up to date."""
    params, workspace = load_params(folder / "params.yaml"), Workspace(folder / "artifacts")
    original = _cell(workspace.original_evaluation)
    fidelity = {(cell.method, cell.experts): cell.fidelity for cell in read_ranks(workspace.rank(MIX)).cells}
    for experts in params.run.experts:
        baseline = _cell(workspace.evaluation(MIX, BASELINE, experts))
        for method in [*params.run.one_shot, *params.run.sequential]:
            cell = _cell(workspace.evaluation(MIX, method, experts))
            close = fidelity[method, experts]
            assert close is not None
            assert cell.mc is not None
            assert cell.gen is not None
            yield Measured(
                folder.name.rpartition("-")[0], params.calibration.seed, method, Fraction(experts, original.experts),
                taken_back(original, baseline, cell), _losses(cell)["mean"], close.mean.kl.value, cell.mc, cell.gen,
            )  # fmt: skip


def _cell(path: Path) -> Cell:
    """The one model in a file of results."""
    [cell] = read_scores(path).cells
    return cell


def _losses(cell: Cell) -> dict[str, float]:
    losses = {source: loss.loss for source, loss in cell.loss.items()}
    return {**losses, "mean": statistics.fmean(losses.values())}


def taken_back(original: Cell, baseline: Cell, cell: Cell) -> dict[str, float]:
    """Of each source's increase in loss by the baseline, and of the mean's, the fraction that a model avoids.

    Where the baseline loses nothing there is nothing to avoid: not a number.
    """
    first, worst, own = _losses(original), _losses(baseline), _losses(cell)
    return {
        name: (worst[name] - own[name]) / (worst[name] - first[name]) if worst[name] > first[name] else float("nan")
        for name in first
    }


def table(models: Sequence[Measured]) -> str:
    """Markdown: a row for each model, size and method, with means over its seeds."""
    groups: dict[tuple[str, Fraction, str], list[Measured]] = {}
    for one in models:
        groups.setdefault((one.model, -one.share, one.method), []).append(one)
    sources = [name for name in (models[0].taken_back if models else {}) if name != "mean"]
    head = ["model", "kept", "method", "seeds", "loss", *sources, "taken back", "KL", "MC", "GEN"]
    places = {key: place for place, key in enumerate(groups)}
    rows = []
    for key in sorted(groups, key=lambda key: (key[0], key[1], places[key])):
        ones = groups[key]
        of_seeds = [one.taken_back["mean"] for one in ones]
        spread = f" ± {statistics.stdev(of_seeds):.1%}" if len(ones) > 1 else ""
        rows.append([
            key[0], str(-key[1]), f"`{key[2]}`", str(len(ones)), f"{statistics.fmean(one.loss for one in ones):.3f}",
            *(f"{statistics.fmean(one.taken_back[source] for one in ones):.1%}" for source in sources),
            f"{statistics.fmean(of_seeds):.1%}{spread}",
            f"{statistics.fmean(one.kl for one in ones):.3f}",
            f"{statistics.fmean(one.mc for one in ones):.1f}", f"{statistics.fmean(one.gen for one in ones):.1f}",
        ])  # fmt: skip
    return "\n".join(pipe_table(head, rows, right=range(3, len(head))))


if __name__ == "__main__":
    main()
