"""The cells of the refit study, each one compression of the demo model, and the stages that they belong to."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from ream.core.composition import Composition
from ream.params import Method

BASELINE_SEQUENCES = 32
ITERATIONS = 12

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
    "best": {
        "saliency": "reap",
        "grouping": "pruning",
        "candidates": [
            {"saliency": "ean", "grouping": "pruning"},
            {"saliency": "frequency", "grouping": "matching", "similarity": ["gate-logits"], "merging": "neurons"},
        ],
    },
    "neurons": {"saliency": "frequency", "grouping": "matching", "similarity": ["gate-logits"], "merging": "neurons"},
}
GROUP_SIZES = {24: 4, 16: 8, 8: 16}  # experts kept to C


@dataclass(frozen=True)
class Cell:
    """One compression.

    Attributes:
        method: a name from METHODS, ``one-shot`` (one-shot REAP) or ``original`` (no compression).
        experts: number of experts kept, K.
        target: target of the refit; None for no refit.
        ridge: ridge λ of the refit, or ``auto``.
        sequences: calibration sequences of each source.
        seed: seed of the calibration text.
        changes: changes to the method's entry in METHODS, as JSON.
        iterations: iterations of the fit of all projections after the refit; 0 for no fit.
    """

    method: str
    experts: int = 16
    target: str | None = "global"
    ridge: float | str = 1e-3
    sequences: int = 32
    seed: int = 0
    changes: str = "{}"
    iterations: int = 0

    @property
    def key(self) -> str:
        """The cell as JSON, which identifies it."""
        return json.dumps(asdict(self), sort_keys=True)


ORIGINAL = Cell("original", experts=32, target=None)
BASE, CHOSEN = Cell("reap"), Cell("neurons")


def factors(base: Cell) -> Iterator[Cell]:
    """A cell, and cells that change one option of its refit each."""
    yield base
    for ridge in (1e-4, 1e-2, 1e-1):
        yield replace(base, ridge=ridge)
    yield replace(base, target="layer")
    yield replace(base, target=None)


def neurons() -> Iterator[Cell]:
    """Choosing neurons, and changes to it."""
    yield from factors(CHOSEN)
    yield replace(CHOSEN, changes='{"saliency": "reap"}')
    yield replace(CHOSEN, changes='{"similarity": ["gate-logits", "gated-output"]}')
    yield replace(CHOSEN, changes='{"grouping": "hierarchical", "similarity": ["output"]}')


def pruning() -> Iterator[Cell]:
    """Pruning, changes to it, and the paper's merging."""
    yield from factors(BASE)
    for method in ("ean", "frequency", "ream"):
        yield replace(BASE, method=method)


def sequences() -> Iterator[Cell]:
    """More calibration text."""
    for count in (128, 64, 256):
        for experts in (16, 8):
            yield replace(CHOSEN, experts=experts, sequences=count)


def finalists() -> Iterator[Cell]:
    """Pruning and choosing neurons, over seeds and sizes."""
    for seed in range(3):
        for experts in (16, 8, 24):
            yield replace(CHOSEN, experts=experts, seed=seed)
            yield replace(BASE, experts=experts, seed=seed)


def fits() -> Iterator[Cell]:
    """The fit of all projections, over seeds and sizes; then with less text, on pruning, and with other iterations."""
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


def best() -> Iterator[Cell]:
    """The choice among candidates beside its parts, over sizes and seeds, in closed form and with the fit."""
    for seed in range(3):
        for experts in (16, 24, 8):
            for iterations in (0, ITERATIONS):
                yield Cell("best", experts, ridge="auto", sequences=128, seed=seed, iterations=iterations)
            for method in ("reap", "ean", "neurons"):
                yield Cell(method, experts, sequences=128, seed=seed)


def scored() -> list[Cell]:
    """The cells whose MC and GEN are measured, too; they keep half the experts."""
    return [
        ORIGINAL,
        baseline(BASE),
        replace(BASE, target=None),
        BASE,
        replace(CHOSEN, sequences=128, iterations=ITERATIONS),
    ]


def quick() -> Iterator[Cell]:
    """Two small cells, to try the script."""
    yield replace(BASE, sequences=2)
    yield replace(CHOSEN, sequences=2)


STAGES = {
    "neurons": neurons,
    "pruning": pruning,
    "sequences": sequences,
    "fits": fits,
    "best": best,
    "finalists": finalists,
    "quick": quick,
}


def composition(cell: Cell) -> Composition:
    """The parts of a cell's method."""
    refit = None if cell.target is None else {"target": cell.target, "ridge": cell.ridge, "iterations": cell.iterations}
    entry = METHODS[cell.method] | json.loads(cell.changes) | {"sequential": True, "refit": refit}
    return Method(**entry).composition()


def baseline(cell: Cell) -> Cell:
    """One-shot REAP of the same size and seed, which a cell is compared with."""
    return Cell("one-shot", cell.experts, None, sequences=BASELINE_SEQUENCES, seed=cell.seed)


def with_baselines(cells: Iterable[Cell]) -> list[Cell]:
    """The original, and the cells with their baselines, without duplicates."""
    wanted = [ORIGINAL]
    for cell in cells:
        wanted += [baseline(cell), cell]
    return list(dict.fromkeys(wanted))
