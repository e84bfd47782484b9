"""A row of results: one model's scores, ours or published, in the shape that tables and figures read."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ream.evaluation.scores import Cell

OURS, PAPER, ORIGINAL = "ours", "paper", "original"

# What a calibration source is in the paper's terms, by its name in params.yaml; other sources keep their own names.
ROLES = {
    "general": "general", "c4": "general",
    "math": "math", "numina-math": "math",
    "code": "code", "the-stack-smol": "code",
}  # fmt: skip

# lm-eval's names for what the paper's tables call otherwise.
TASKS = {"gpqa_diamond_n_shot": "gpqa_diamond", "livecodebench_v6": "livecodebench"}

# Names of the paper's mixes (docs/method.md); the ratios are general : math : code.
MIXES = {
    (0.3, 0.3, 0.3): "balanced",
    (0.2, 0.5, 0.3): "math-leaning",
    (0.1, 0.8, 0.1): "math-heavy",
    (0.2, 0.25, 0.55): "code-leaning",
    (0.1, 0.1, 0.8): "code-heavy",
}


@dataclass(frozen=True)
class Score:
    """A task's value and its standard error, both in percent; None where the error is not known."""

    value: float
    stderr: float | None = None


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        origin: OURS, PAPER, or the name of imported results.
        model: the original's name.
        method: ORIGINAL for the original itself.
        experts: routed experts a layer.
        ratios: of the calibration sources, as they were given; empty for originals, and where they are not known.
        mc_tasks, gen_tasks: task to score; either may be unknown where its mean is not.
        mc, gen, avg: in percent.
        parameters: of the model.
    """

    origin: str
    model: str
    method: str
    experts: int
    ratios: Mapping[str, float] = field(default_factory=dict)
    mc_tasks: Mapping[str, Score] = field(default_factory=dict)
    gen_tasks: Mapping[str, Score] = field(default_factory=dict)
    mc: float | None = None
    gen: float | None = None
    avg: float | None = None
    parameters: int | None = None

    @property
    def shares(self) -> dict[str, float]:
        """The ratios, normalised to sum 1; sources of ratio 0 stay."""
        total = sum(self.ratios.values())
        return {source: ratio / total for source, ratio in self.ratios.items()}

    @property
    def mix(self) -> str:
        """The ratios as the paper writes them, 0.3:0.3:0.3; empty where there are none."""
        return ":".join(f"{ratio:g}" for ratio in self.ratios.values())

    @property
    def mix_key(self) -> tuple[tuple[str, float], ...]:
        """Equal for mixes of the same shares, however their ratios are written and ordered."""
        return tuple(sorted((source, round(share, 6)) for source, share in self.shares.items() if share > 0))


def rows_of_cells(
    cells: Iterable[Cell],
    model: str,
    mixes: Mapping[str, Mapping[str, float]],
    mc: Sequence[str],
    gen: Sequence[str],
    origin: str = OURS,
) -> list[Row]:
    """Rows of evaluated cells.

    Args:
        cells: as the evaluate stages wrote them.
        model: hub id or folder of the original.
        mixes: name of a mix to its sources' ratios, as in params.yaml; sources get the names of ROLES.
        mc, gen: tasks of the suite.
        origin: name of these results.

    Raises:
        ValueError: a cell's mix is not among the mixes, or two of its sources have one role.
    """
    rows = []
    for cell in cells:
        ratios: dict[str, float] = {}
        if cell.mix is not None:
            if cell.mix not in mixes:
                raise ValueError(f"the ratios of mix '{cell.mix}' are not known")
            ratios = {ROLES.get(source, source): ratio for source, ratio in mixes[cell.mix].items()}
            if len(ratios) < len(mixes[cell.mix]):
                raise ValueError(f"mix '{cell.mix}' has two sources of one kind: {', '.join(mixes[cell.mix])}")
        rows.append(
            Row(
                origin=origin,
                model=model,
                method=cell.method or ORIGINAL,
                experts=cell.experts,
                ratios=ratios,
                mc_tasks=_scores(cell, mc),
                gen_tasks=_scores(cell, gen),
                mc=cell.mc,
                gen=cell.gen,
                avg=cell.avg,
                parameters=cell.parameters,
            )
        )
    return rows


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one original: hub id, its last part, or a folder named so; revisions do not count."""

    def bare(name: str) -> str:
        return name.rstrip("/").rsplit("/", 1)[-1].split("@")[0].lower()

    return bare(one) == bare(other)


def beside(ours: Sequence[Row], published: Sequence[Row]) -> list[Row]:
    """Our rows and the published ones of the same models, under our names of the models; without ours, all published.

    Returns:
        ours in their order, then the published.
    """
    if not ours:
        return list(published)
    names = list(dict.fromkeys(row.model for row in ours))
    found = [replace(row, model=name) for row in published for name in names if same_model(name, row.model)]
    return [*ours, *found]


def mix_name(row: Row) -> str:
    """The paper's name of a row's mix where it has one, else an empty string."""
    shares = tuple(row.shares.get(source, 0.0) for source in ("general", "math", "code"))
    for ratios, name in MIXES.items():
        total = sum(ratios)
        if row.ratios and all(math.isclose(share, ratio / total, abs_tol=1e-6)
                              for share, ratio in zip(shares, ratios, strict=True)):  # fmt: skip
            return name
    return ""


def in_mixes(row: Row) -> bool:
    """Whether a row's calibration mixed at least two sources: the analysis compares mixes, not single sources."""
    return len(row.mix_key) > 1


def _scores(cell: Cell, tasks: Sequence[str]) -> dict[str, Score]:
    found = {task: cell.tasks[task] for task in tasks if task in cell.tasks}
    return {TASKS.get(task, task): Score(score.value, score.stderr) for task, score in found.items()}
