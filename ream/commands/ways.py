"""How the models that `ream evaluate` scores were made: of which original, by which method, on which mix."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ream.errors import UserError
from ream.recipe.provenance import Provenance, provenance, provenance_of


def told_ways(
    model: str, recipes: Sequence[Path | None], say: Callable[[str], None], warn: Callable[[str], None]
) -> list[Provenance | None]:
    """How the models were made, each said in a line; None of an original.

    Args:
        model: hub id or folder; of a folder that ream has written, the recipe in it tells.
        recipes: by which the model is compressed; None for the model as it is.
        say: prints a line.
        warn: prints a warning, about a recipe in the folder that cannot be read.

    Raises:
        UserError: a recipe that was given is damaged.
    """
    made = [_provenance(model, recipe, warn) for recipe in recipes]
    for recipe, each in zip(recipes, made, strict=True):
        if each is not None:
            say(f"{recipe or model}: {each}")
    return made


def _provenance(model: str, recipe: Path | None, warn: Callable[[str], None]) -> Provenance | None:
    """How a scored model was made: by the recipe given, or by the one in its folder."""
    if recipe is not None:
        return provenance_of(recipe)
    try:
        return provenance(Path(model)) if Path(model).is_dir() else None
    except UserError as error:
        warn(f"{model} has a recipe that cannot be read, so what the model is stays unsaid: {error}")
        return None
