"""How much of what removing experts costs comes back: saliency, merging, refit and calibration text on the demo model.

    python benchmarks/refit_study.py run --folder FOLDER [--stage finalists] [--quick]
    python benchmarks/refit_study.py suite --folder FOLDER
    python benchmarks/refit_study.py table --folder FOLDER

``run`` measures the cells of a stage that FOLDER/cells.jsonl does not hold yet, a line each, so that a stopped study
goes on. ``suite`` scores the demo's MC and GEN tasks for a few of them (FOLDER/suite.jsonl). ``table`` writes what is
there into docs/refit.md, between the markers. Recovered is the share of one-shot REAP's increase in held-out loss (same
size, same seed, its own 32 sequences of each source) that a cell does not have.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ream.calibration.packing import pad
from ream.calibration.sampling import draw
from ream.calibration.sources import iter_texts
from ream.calibration.tokenizer import load_encoder
from ream.compress.decide import group_layer
from ream.compress.load import load_model
from ream.compress.one_shot import collect
from ream.compress.recipe_file import load_recipe, save_recipe
from ream.compress.sequential import compress_sequentially
from ream.compress.state import WalkState
from ream.compress.statistics_file import read_sums
from ream.compress.walk import Batches, Probes, batches
from ream.core.recipe import Recipe
from ream.evaluation.loss import window_loss
from ream.evaluation.windows import Windows, held_out_windows
from ream.models.architecture import architecture_of
from ream.models.checkpoint import Checkpoint
from ream.models.decoder import Decoder
from ream.params import BuiltinSource, Calibration, Method, load_params
from ream.progress import Progress
from ream.stages.items import end_token, write_items

ROOT = Path(__file__).resolve().parent.parent
MODEL, DOCUMENT = ROOT / "data" / "demo-model", ROOT / "docs" / "refit.md"
BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
SOURCES = ("general", "math", "code")
TOKENS, WINDOWS, WINDOW = 512, 64, 256  # of a calibration sequence; held-out windows of each source, tokens of one
BASELINE_SEQUENCES = 32
BATCH_TOKENS, PROBES = 8192, 2048
ITERATIONS = 30

METHODS: dict[str, dict[str, Any]] = {
    "reap": {"saliency": "reap", "grouping": "pruning"},
    "ean": {"saliency": "ean", "grouping": "pruning"},
    "frequency": {"saliency": "frequency", "grouping": "pruning"},
    "ream": {
        "saliency": "reap",
        "grouping": "pseudo-pruning",
        "similarity": ["gate-logits", "gated-output"],
        "alignment": ["activations", "weights"],
    },
    "neurons": {"saliency": "frequency", "grouping": "matching", "similarity": ["gate-logits"], "merging": "neurons"},
}
GROUP_SIZES = {24: 4, 16: 8, 8: 16}  # of ream


@dataclass(frozen=True)
class Cell:
    """One compression.

    Attributes:
        method: of METHODS, or ``one-shot`` (REAP without a walk) or ``original``.
        experts: K.
        target: of the refit; None: without one.
        ridge, sweeps: of the refit.
        sequences: of each source.
        seed: of the calibration text.
        changes: of the method's composition, as JSON.
        iterations: of the fit of all projections after the refit.
    """

    method: str
    experts: int = 16
    target: str | None = "global"
    ridge: float = 1e-3
    sequences: int = 32
    seed: int = 0
    changes: str = "{}"
    iterations: int = 0

    @property
    def key(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


ORIGINAL = Cell("original", experts=32, target=None)
BASE, CHOSEN = Cell("reap"), Cell("neurons")


def factors(base: Cell) -> Iterator[Cell]:
    """One thing at a time, one seed, half the experts."""
    yield base
    for ridge in (1e-4, 1e-2, 1e-1):
        yield replace(base, ridge=ridge)
    yield replace(base, target="layer")
    yield replace(base, target=None)


def neurons() -> Iterator[Cell]:
    """Around choosing neurons."""
    yield from factors(CHOSEN)
    yield replace(CHOSEN, changes='{"saliency": "reap"}')
    yield replace(CHOSEN, changes='{"similarity": ["gate-logits", "gated-output"]}')
    yield replace(CHOSEN, changes='{"grouping": "hierarchical", "similarity": ["output"]}')


def pruning() -> Iterator[Cell]:
    """Around pruning, and the paper's merging."""
    yield from factors(BASE)
    for method in ("ean", "frequency", "ream"):
        yield replace(BASE, method=method)


def sequences() -> Iterator[Cell]:
    """More calibration text."""
    for count in (128, 64, 256):
        for experts in (16, 8):
            yield replace(CHOSEN, experts=experts, sequences=count)


def finalists() -> Iterator[Cell]:
    """Over seeds and sizes: pruning, and choosing neurons."""
    for seed in range(3):
        for experts in (16, 8, 24):
            yield replace(CHOSEN, experts=experts, seed=seed)
            yield replace(BASE, experts=experts, seed=seed)


def fits() -> Iterator[Cell]:
    """All projections, over seeds and sizes; then iterations, less text, and what experts are made of."""
    best = replace(CHOSEN, iterations=ITERATIONS, sequences=128)
    for seed in range(3):
        for experts in (16, 8):
            yield replace(best, experts=experts, seed=seed)
    for seed in range(3):
        yield replace(best, sequences=32, seed=seed)
    yield replace(best, experts=24)
    yield replace(BASE, iterations=ITERATIONS)
    for iterations in (10, 100):
        yield replace(best, iterations=iterations, sequences=32)
    yield replace(best, target="layer", sequences=32)


def scored() -> list[Cell]:
    """For which MC and GEN are measured, too: half the experts."""
    return [
        ORIGINAL,
        baseline(BASE),
        replace(BASE, target=None),
        BASE,
        replace(CHOSEN, sequences=128, iterations=ITERATIONS),
    ]


def quick() -> Iterator[Cell]:
    """A try of the script itself."""
    yield replace(BASE, sequences=2)
    yield replace(CHOSEN, sequences=2)


STAGES = {
    "neurons": neurons,
    "pruning": pruning,
    "sequences": sequences,
    "fits": fits,
    "finalists": finalists,
    "quick": quick,
}


@dataclass
class Bench:
    """The demo model with the text that the cells share."""

    folder: Path
    most: int  # sequences of each source that any cell takes
    windows: dict[str, Windows] = field(default_factory=dict)
    texts: dict[int, dict[str, list[list[int]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.checkpoint = Checkpoint(MODEL)
        self.architecture = architecture_of(self.checkpoint)
        self.device = torch.device("cpu")
        self.decoder = Decoder(self.checkpoint, self.architecture, self.device, torch.float32)
        self.encode = load_encoder(str(MODEL), None, False).encode
        for source in SOURCES:
            self.windows[source] = held_out_windows(self.encode, end_token(MODEL), source, WINDOWS, WINDOW)

    def data(self, seed: int, sequences: int) -> Batches:
        """The first sequences of each source; those of a seed are drawn once."""
        if seed not in self.texts:
            drawn = Calibration(sequences=self.most, tokens=TOKENS, seed=seed)
            self.texts = {  # of one seed at a time
                seed: {
                    source: draw(
                        iter_texts(BuiltinSource(kind="builtin", name=source), seed), self.encode, drawn
                    ).sequences
                    for source in SOURCES
                }
            }
        rows = [ids for source in SOURCES for ids in self.texts[seed][source][:sequences]]
        return batches(*pad(rows, pad_id=0), BATCH_TOKENS)

    def recipe(self, cell: Cell) -> Recipe | None:
        """What becomes of the experts; None for the original."""
        if cell.method == "original":
            return None
        data = self.data(cell.seed, cell.sequences)
        probes = Probes(data, PROBES, cell.seed)
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as folder,
            Progress(None, "study", "batch", delay=math.inf) as progress,
            WalkState(Path(folder) / "state", "study", discard_stale=False) as state,
        ):
            if cell.method == "one-shot":
                collect(self.decoder, data, probes, state, progress)
                return self.pruned(cell, state.folder)
            found = compress_sequentially(
                self.decoder, data, probes, composition(cell), cell.experts, GROUP_SIZES[cell.experts], state,
                progress, {},
            )  # fmt: skip
            kept = self.folder / "recipe.safetensors"  # corrections lie in the state, which goes
            save_recipe(kept, found)
            return load_recipe(kept)

    def pruned(self, cell: Cell, statistics_folder: Path) -> Recipe:
        """One-shot REAP, of statistics of the original."""
        method = composition(replace(cell, method="reap", target=None))
        layers = {
            index: group_layer(method, read_sums(statistics_folder, index), cell.experts, 1, 1)
            for index in self.architecture.moe_layers
        }
        return Recipe(layers, {})

    def measured(self, cell: Cell) -> dict[str, Any]:
        """A line of the study."""
        started = time.monotonic()
        recipe = self.recipe(cell)
        walked = time.monotonic() - started
        model = load_model(self.checkpoint, self.architecture, recipe, self.device, torch.float32)
        loss = {source: window_loss(model, windows, BATCH_TOKENS)["loss"] for source, windows in self.windows.items()}
        refit = {} if recipe is None else recipe.facts.get("refit", {})
        return {"cell": asdict(cell), "loss": loss, "seconds": round(walked, 1), "refit": refit}


def suite_scores(bench: Bench, cell: Cell, folder: Path) -> dict[str, Any]:
    """A line of FOLDER/suite.jsonl: means of the demo suite's MC and GEN tasks, in percent."""
    from transformers import AutoTokenizer

    from ream.evaluation.harness import Harness

    params = load_params(ROOT / "params.yaml")
    if not (folder / "items").exists():
        write_items(params, folder / "items", str(MODEL))
    suite = params.suites["demo"].model_copy(update={"loss": []})
    model = load_model(bench.checkpoint, bench.architecture, bench.recipe(cell), bench.device, torch.float32)
    harness = Harness(suite, params.evaluation, folder / "items")
    scores = harness.score(model, AutoTokenizer.from_pretrained(MODEL), None)
    return {"cell": asdict(cell), "mc": scores["mc"], "gen": scores["gen"]}


def composition(cell: Cell) -> Method:
    """The method of a cell."""
    refit = None if cell.target is None else {"target": cell.target, "ridge": cell.ridge, "iterations": cell.iterations}
    return Method(**METHODS[cell.method] | json.loads(cell.changes) | {"sequential": True, "refit": refit})


def baseline(cell: Cell) -> Cell:
    """One-shot REAP of the same size and seed."""
    return Cell("one-shot", cell.experts, None, sequences=BASELINE_SEQUENCES, seed=cell.seed)


def with_baselines(cells: Iterable[Cell]) -> list[Cell]:
    """The cells and what they are held against, each once."""
    wanted = [ORIGINAL]
    for cell in cells:
        wanted += [baseline(cell), cell]
    return list(dict.fromkeys(wanted))


def read_lines(folder: Path, name: str = "cells.jsonl") -> dict[str, dict[str, Any]]:
    """What has been measured, by the key of its cell; a line that a kill cut short is left out."""
    path, found = folder / name, {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.endswith("}"):
            measured = json.loads(line)
            found[Cell(**measured["cell"]).key] = measured
    return found


def run(folder: Path, stage: str, seeds: list[int] | None = None, experts: list[int] | None = None) -> None:
    """Measure what a stage lacks, of some seeds and numbers of experts or of all."""
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
    """Measure what of `scored` FOLDER/suite.jsonl lacks."""
    torch.set_num_threads(1)
    done = read_lines(folder, "suite.jsonl")
    bench = Bench(folder, max(cell.sequences for cell in scored()))
    for cell in scored():
        if cell.key not in done:
            with open(folder / "suite.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(suite_scores(bench, cell, folder)) + "\n")


def recovered(lines: Mapping[str, dict[str, Any]], cell: Cell) -> dict[str, float]:
    """Of each source and of their mean, the share of one-shot REAP's increase that the cell does not have."""
    before, reap, after = (_with_mean(lines[each.key]["loss"]) for each in (ORIGINAL, baseline(cell), cell))
    return {source: (reap[source] - after[source]) / (reap[source] - before[source]) for source in before}


def _with_mean(loss: Mapping[str, float]) -> dict[str, float]:
    return {**loss, "mean": statistics.fmean(loss.values())}


def table(lines: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: a row for each setting, mean over its seeds (± standard deviation of the mean column)."""
    settings: dict[str, list[Cell]] = {}
    for measured in lines.values():
        cell = Cell(**measured["cell"])
        if cell.method not in ("original", "one-shot") and baseline(cell).key in lines and cell not in quick():
            settings.setdefault(replace(cell, seed=0).key, []).append(cell)
    rows = [
        "| K | experts are | changed | target | λ | fit | sequences | seeds | loss | general | math | code | mean |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cells in sorted(settings.values(), key=lambda each: _place(each[0])):
        cell, shares = cells[0], [recovered(lines, each) for each in cells]
        loss = statistics.fmean(_with_mean(lines[each.key]["loss"])["mean"] for each in cells)
        means = [f"{statistics.fmean(share[source] for share in shares):.1%}" for source in (*SOURCES, "mean")]
        if len(cells) > 1:
            means[-1] += f" ± {statistics.stdev(share['mean'] for share in shares):.1%}"
        changed = ", ".join(f"{key} {value}" for key, value in json.loads(cell.changes).items())
        fitted = (cell.target, f"{cell.ridge:g}") if cell.target else ("no refit", "")
        named = (
            cell.experts,
            cell.method,
            changed,
            *fitted,
            cell.iterations or "",
            cell.sequences,
            len(cells),
            f"{loss:.3f}",
            *means,
        )
        rows.append("| " + " | ".join(str(value) for value in named) + " |")
    return "\n".join(rows)


def suite_table(lines: Mapping[str, dict[str, Any]]) -> str:
    """Markdown: MC and GEN of what has been scored; "" where nothing has."""
    if not lines:
        return ""
    rows = ["| K | experts are | target | sequences | MC | GEN |", "| --- | --- | --- | --- | --- | --- |"]
    for cell in scored():
        if (line := lines.get(cell.key)) is not None:
            named = (cell.experts, cell.method, cell.target or "no refit", cell.sequences)
            rows.append("| " + " | ".join(map(str, named)) + f" | {line['mc']:.1f} | {line['gen']:.1f} |")
    return "\n".join(rows)


def _place(cell: Cell) -> tuple[Any, ...]:
    """Rows in the table's order."""
    method = list(METHODS).index(cell.method)
    return (-cell.experts, method, cell.target or "", cell.changes, cell.iterations, cell.sequences, cell.ridge)


def write_table(folder: Path) -> None:
    """Put the table between the markers of docs/refit.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    tables = f"{table(read_lines(folder))}\n\n{suite_table(read_lines(folder, 'suite.jsonl'))}".rstrip()
    DOCUMENT.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["run", "suite", "table"])
    parser.add_argument("--folder", type=Path, default=ROOT / "artifacts" / ".study")
    parser.add_argument("--stage", choices=list(STAGES), default="finalists")
    parser.add_argument("--seeds", type=int, nargs="*", help="of the stage's [default: all]")
    parser.add_argument("--experts", type=int, nargs="*", help="of the stage's [default: all]")
    parser.add_argument("--quick", action="store_true", help="two cells of two sequences a source")
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
