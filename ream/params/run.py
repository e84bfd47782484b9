"""Sections run and exports: which named entries the graph runs, and which of its models are written."""

from typing import Annotated

from pydantic import Field, model_validator

from ream.errors import unknown
from ream.params.section import Section


def _once(section: Section, where: str = "") -> None:
    for name in type(section).model_fields:
        values = getattr(section, name)
        if isinstance(values, list) and len(set(values)) != len(values):
            raise ValueError(f"{where}{name} lists an entry twice: {values}")


class Extra(Section):
    """Methods that are run on some of the mixes only, as the ablations of the paper's Table 4 and Fig. 4a."""

    mixes: list[str] = []
    one_shot: list[str] = []
    sequential: list[str] = []


class Run(Section):
    """Which named entries the graph runs; ``rank``: the mixes whose models' hidden states are compared."""

    sources: list[str] = Field(min_length=1)
    mixes: list[str]
    one_shot: list[str]
    sequential: list[str]
    experts: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    extra: Extra = Extra()
    rank: list[str] = []

    @model_validator(mode="after")
    def _fits(self) -> "Run":
        _once(self)
        _once(self.extra, "extra.")
        for field in ("one_shot", "sequential"):
            both = [name for name in getattr(self.extra, field) if name in self.one_shot + self.sequential]
            if both:
                raise ValueError(f"extra.{field} names '{both[0]}', which is run on all mixes already")
        for field, mixes in (("extra.mixes", self.extra.mixes), ("rank", self.rank)):
            for name in mixes:
                if name not in self.mixes:
                    raise unknown(f"run.{field}: mix", name, self.mixes, "run.mixes")
        return self

    def methods(self, mix: str | None = None) -> list[str]:
        """The methods that are run on a mix; without a mix, on any."""
        found, some = self.one_shot + self.sequential, self.extra
        if some.mixes if mix is None else mix in some.mixes:
            found = found + some.one_shot + some.sequential
        return found

    def cells(self, mix: str) -> list[tuple[str, int]]:
        """Method and number of experts of all models of a mix."""
        return [(method, experts) for method in self.methods(mix) for experts in self.experts]


class Export(Section):
    """One cell of the grid to write as a checkpoint."""

    mix: str
    method: str
    experts: int
