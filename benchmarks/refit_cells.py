"""The cells of the refit study: what is compressed how, and which stage of the study has which."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from ream.params import Method

BASELINE_SEQUENCES = 32
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
