"""What a compressed model is, from the recipe in its folder: of which original, by which method, on which mix."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ream.machine.files import file_digest
from ream.recipe.contents import recipe_name
from ream.recipe.recipe_file import load_recipe


@dataclass(frozen=True)
class Provenance:
    """How a compressed model was made.

    Attributes:
        original: hub id or folder of the original.
        revision: the commit on the hub; None for a folder.
        method: name of the method.
        mix: name of the calibration mix.
        ratios: source to its ratio in the mix.
        experts: experts kept in each layer.
        original_experts: experts of the original in each layer.
        sequences: calibration sequences; None in recipes that do not say.
        tokens: of a sequence, at most.
        seed: of the calibration text.
        ream: the version that made it.
        recipe: SHA-256 of the recipe.
    """

    original: str
    revision: str | None
    method: str
    mix: str
    ratios: Mapping[str, float]
    experts: int
    original_experts: int
    sequences: int | None
    tokens: int
    seed: int
    ream: str
    recipe: str

    def __str__(self) -> str:
        """One line for a person."""
        ratios = ", ".join(f"{source} {ratio:.2f}" for source, ratio in self.ratios.items())
        commit = "" if self.revision is None else f" @ {self.revision}"
        return (
            f"{self.experts} of {self.original_experts} experts a layer of {self.original}{commit}, by {self.method} "
            f"on mix {self.mix} ({ratios})"
        )

    def as_json(self) -> dict[str, Any]:
        """The attributes as plain values."""
        return asdict(self)


def provenance(folder: Path) -> Provenance | None:
    """How the model in a folder was made; None where it has no recipe.

    Raises:
        UserError: the recipe is damaged.
    """
    path = folder / recipe_name(folder)
    return provenance_of(path) if path.is_file() else None


def provenance_of(path: Path) -> Provenance:
    """How the model of a recipe was made.

    Raises:
        UserError: the file is missing, damaged or not a recipe.
    """
    facts = load_recipe(path).facts
    return Provenance(
        original=facts["model"],
        revision=facts.get("revision"),
        method=facts["method"],
        mix=facts["mix"],
        ratios=facts["ratios"],
        experts=facts["experts"],
        original_experts=facts["original_experts"],
        sequences=facts.get("sequences"),
        tokens=facts["tokens"],
        seed=facts["seed"],
        ream=facts["ream"],
        recipe=file_digest(path),
    )
