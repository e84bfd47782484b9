"""Section search: how mixes of the calibration sources are found (docs/search.md)."""

from collections.abc import Collection
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ream.errors import UserError, unknown
from ream.params.section import Section

SUITE_MEANS = ("mc", "gen")  # objectives that are means of the suite's tasks
Measured = Literal["loss", "kl"]
Sampler = Literal["gp", "tpe", "random"]


def parse_target(text: str) -> dict[str, float]:
    """Weights of objectives as they are written, ``0.7 code + 0.3 general``; a missing number is 1.

    Returns:
        Objective to weight, as given.

    Raises:
        ValueError: a term is not NUMBER NAME, a weight is not positive and finite, or an objective is named twice.
    """
    weights: dict[str, float] = {}
    for term in text.split("+"):
        words = term.replace("*", " ").split()
        if len(words) not in (1, 2):
            raise ValueError(f"target: '{term.strip()}' is not a weight and an objective, as in 0.7 code + 0.3 general")
        try:
            weight = float(words[0]) if len(words) == 2 else 1.0
        except ValueError:
            raise ValueError(f"target: '{words[0]}' is not a number; write 0.7 code + 0.3 general") from None
        if not 0 < weight < float("inf"):
            raise ValueError(f"target: the weight of {words[-1]} is {weight:g}; weights are positive")
        if words[-1] in weights:
            raise ValueError(f"target names {words[-1]} twice; give it one weight")
        weights[words[-1]] = weight
    return weights


class Search(Section):
    """Which mixes are tried, on what they are measured, and what is made of the best.

    The names of objectives are those of sources, whose held-out text is measured, ``mc``, ``gen`` and single tasks of
    the suite, which are measured of the last candidates alone.
    """

    objectives: list[str] = Field(default=[], description="two or more; empty: all sources of the run")
    measure: Measured = Field("loss", description="of a source's text: next-token loss, or KL from the original")
    trials: int = Field(40, ge=1, description="mixes that are tried, the known ones among them")
    batch: int = Field(8, ge=1, description="mixes whose models walk through the layers side by side")
    sequences: int = Field(8, ge=1, description="sequences of each source on which a mix is measured")
    rungs: int = Field(3, ge=1, le=8, description="rounds; half of the mixes go on to each, on twice the sequences")
    final_sequences: int = Field(8, ge=1, description="further sequences of each source, on which the front is checked")
    candidates: int = Field(8, ge=1, description="most mixes that get a recipe, and scores on tasks")
    sampler: Sampler = Field(
        "gp", description="what proposes mixes: a Gaussian process, a tree of Parzen estimators, or chance"
    )
    workers: int = Field(1, ge=1, le=64, description="processes on this machine that share the trials")
    seed: int = Field(0, ge=0, description="of the sampler")
    target: str = Field("", description="weights of objectives for one answer, such as 0.7 code + 0.3 general")

    @field_validator("objectives")
    @classmethod
    def _distinct(cls, names: list[str]) -> list[str]:
        if len(set(names)) != len(names):
            raise ValueError(f"objectives names one twice: {names}")
        return names

    @model_validator(mode="after")
    def _target_is_readable(self) -> "Search":
        if self.target:
            parse_target(self.target)
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weights of the target; none without one."""
        return parse_target(self.target) if self.target else {}

    def names(self, sources: Collection[str]) -> list[str]:
        """The objectives, which are all sources where none is given."""
        return self.objectives or list(sources)


def check_search(search: Search, sources: Collection[str], tasks: Collection[str]) -> None:
    """Refuse objectives that cannot be measured, and targets of other objectives.

    Args:
        search: the section.
        sources: of the run.
        tasks: of the suite.

    Raises:
        UserError: names the objective and what is allowed; there are fewer than two sources or objectives, or the
            target weighs losses and scores.
    """
    if len(sources) < 2:
        raise UserError("run.search needs two sources at least in run.sources, or there is nothing to mix")
    names, scores = search.names(sources), {*SUITE_MEANS, *tasks}
    for name in names:
        if name not in sources and name not in scores:
            raise unknown("search.objectives: objective", name, [*sources, *SUITE_MEANS, *tasks], "the run")
    if len(names) < 2:
        raise UserError(f"search.objectives has {names} alone; give two at least, or a target for one answer")
    for name in search.weights:
        if name not in names:
            raise unknown("search.target: objective", name, names, "search.objectives")
    kinds = {name in sources for name in search.weights}
    if len(kinds) > 1:
        raise UserError("search.target weighs losses and scores together, which have no common unit; use one kind")
