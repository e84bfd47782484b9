"""Sections run and exports: which named entries the graph runs, and which models it writes as checkpoints."""

from typing import Annotated

from pydantic import Field, model_validator

from ream.errors import unknown
from ream.params.section import Section


def _check_distinct(section: Section, prefix: str = "") -> None:
    """Raise a ValueError where a list names an entry twice."""
    for name in type(section).model_fields:
        values = getattr(section, name)
        if isinstance(values, list) and len(set(values)) != len(values):
            raise ValueError(f"{prefix}{name} lists an entry twice: {values}")


class Extra(Section):
    """Methods that run on some of the mixes only, such as the ablations of the paper's Table 4 and Fig. 4a."""

    mixes: list[str] = Field(default=[], description="names in run.mixes")
    one_shot: list[str] = Field(default=[], description="one-shot methods that run on these alone")
    sequential: list[str] = Field(default=[], description="sequential methods that run on these alone")


class Run(Section):
    """Which named entries the graph runs.

    Every method runs on every mix, for every number of experts kept. ``rank`` names the mixes whose models' hidden
    states are compared with the original's, and ``search`` the methods for which mixes are searched.
    """

    sources: list[str] = Field(min_length=1, description="names in sources, all that the mixes draw on")
    mixes: list[str] = Field(description="names in mixes")
    one_shot: list[str] = Field(description="names in methods without sequential: true")
    sequential: list[str] = Field(description="names in methods with sequential: true")
    experts: list[Annotated[int, Field(ge=1)]] = Field(min_length=1, description="K, experts kept in every layer")
    extra: Extra = Field(Extra(), description="methods on some of the mixes only")
    rank: list[str] = Field(
        default=[], description="mixes whose models' hidden states are compared with the original's"
    )
    search: list[str] = Field(default=[], description="methods for which mixes are searched")

    @model_validator(mode="after")
    def _fits(self) -> "Run":
        _check_distinct(self)
        _check_distinct(self.extra, "extra.")
        for field in ("one_shot", "sequential"):
            both = [name for name in getattr(self.extra, field) if name in self.one_shot + self.sequential]
            if both:
                raise ValueError(f"extra.{field} names '{both[0]}', which runs on all mixes already")
        for field, mixes in (("extra.mixes", self.extra.mixes), ("rank", self.rank)):
            for name in mixes:
                if name not in self.mixes:
                    raise unknown(f"run.{field}: mix", name, self.mixes, "run.mixes")
        return self

    def methods(self, mix: str | None = None) -> list[str]:
        """The methods that run on a mix; without a mix, on any mix."""
        methods, extra = self.one_shot + self.sequential, self.extra
        if extra.mixes if mix is None else mix in extra.mixes:
            methods = methods + extra.one_shot + extra.sequential
        return methods

    def cells(self, mix: str) -> list[tuple[str, int]]:
        """Method and number of experts of every model of a mix."""
        return [(method, experts) for method in self.methods(mix) for experts in self.experts]


class Export(Section):
    """One cell of the grid to write as a checkpoint."""

    mix: str = Field(description="a name in run.mixes")
    method: str = Field(description="a method of the run")
    experts: int = Field(description="a number in run.experts")
