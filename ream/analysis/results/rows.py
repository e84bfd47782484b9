"""A row of results: one model's scores, ours or published, in the shape that tables and figures read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ream.evaluation.fidelity_records import Measures

OURS, PAPER, ORIGINAL = "ours", "paper", "original"

# Calibration sources in the paper's terms, by their names in params.yaml; other sources keep their own names.
ROLES = {
    "general": "general", "c4": "general",
    "math": "math", "numina-math": "math",
    "code": "code", "the-stack-smol": "code",
}  # fmt: skip

# lm-eval's task names whose names in the paper's tables differ.
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
    """One model and its scores.

    Attributes:
        origin: OURS, PAPER, or the name of imported results.
        model: name of the original.
        method: the method's name; ORIGINAL for the original itself.
        experts: routed experts per layer.
        ratios: calibration source to its ratio, as given; empty for originals and where the mix is not known.
        mc_tasks: task of MC to its score; may be empty although MC is known.
        gen_tasks: task of GEN to its score; may be empty although GEN is known.
        mc: mean of the multiple-choice tasks, in percent.
        gen: mean of the generative tasks, in percent.
        avg: mean of MC and GEN, in percent.
        parameters: number of parameters of the model.
        fidelity: how close its predictions are to the original's, where that was measured (stage rank).
        called: name of the mix; empty where it has none.
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
    fidelity: Measures | None = None
    called: str = ""

    @property
    def shares(self) -> dict[str, float]:
        """The ratios, normalised to sum to 1; sources with ratio 0 stay."""
        total = sum(self.ratios.values())
        return {source: ratio / total for source, ratio in self.ratios.items()}

    @property
    def mix(self) -> str:
        """The mix's name, else its ratios; empty where there are none."""
        return self.called or self.mix_ratios

    @property
    def mix_ratios(self) -> str:
        """The ratios as the paper writes them, 0.3:0.3:0.3; empty where there are none."""
        return ":".join(f"{ratio:g}" for ratio in self.ratios.values())

    @property
    def mix_key(self) -> tuple[tuple[str, float], ...]:
        """A key that is equal for mixes of the same shares, however their ratios are written and ordered."""
        return tuple(sorted((source, round(share, 6)) for source, share in self.shares.items() if share > 0))


def same_model(one: str, other: str) -> bool:
    """Whether two hub ids or folders name the same original: their last parts agree, without revision and case."""

    def bare(name: str) -> str:
        return name.rstrip("/").rsplit("/", 1)[-1].split("@")[0].lower()

    return bare(one) == bare(other)


def beside(ours: Sequence[Row], published: Sequence[Row]) -> list[Row]:
    """Our rows, then the published rows of the same models under our names for them; without ours, all published."""
    if not ours:
        return list(published)
    names = list(dict.fromkeys(row.model for row in ours))
    renamed = [replace(row, model=name) for row in published for name in names if same_model(name, row.model)]
    return [*ours, *renamed]


def mix_name(row: Row) -> str:
    """The paper's name for a row's mix; empty where the paper has none."""
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


def sizes(rows: Sequence[Row]) -> list[int]:
    """Numbers of experts of the compressed models, from large to small."""
    return sorted({row.experts for row in rows if row.method != ORIGINAL}, reverse=True)
