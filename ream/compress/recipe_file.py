"""Recipes on disk: one safetensors file, the facts as JSON in its metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe
from ream.errors import UserError
from ream.files import replacing

FORMAT = "ream-recipe-1"


def pack_layer(layer: LayerRecipe) -> dict[str, np.ndarray]:
    """A layer's decisions as named arrays."""
    absorbed = sorted(layer.permutations)
    rows = [layer.permutations[expert] for expert in absorbed]
    width = len(rows[0]) if rows else 0
    small = np.int16 if width <= np.iinfo(np.int16).max else np.int32
    return {
        "kept": layer.groups.kept.astype(np.int32),
        "group": layer.groups.group.astype(np.int32),
        "weights": layer.weights,
        "saliency": layer.saliency,
        "absorbed": np.array(absorbed, dtype=np.int32),
        "permutations": np.array(rows, dtype=small).reshape(len(rows), width),
    }


def unpack_layer(arrays: Mapping[str, np.ndarray]) -> LayerRecipe:
    """The inverse of `pack_layer`."""
    return LayerRecipe(
        groups=Groups(arrays["kept"].astype(np.int64), arrays["group"].astype(np.int64)),
        weights=arrays["weights"],
        saliency=arrays["saliency"],
        permutations=dict(zip(arrays["absorbed"].tolist(), arrays["permutations"].astype(np.int64), strict=True)),
    )


def save_recipe(path: str | Path, recipe: Recipe) -> None:
    """Write a recipe atomically."""
    arrays = {
        f"layers.{index}.{name}": np.ascontiguousarray(array)
        for index, layer in recipe.layers.items()
        for name, array in pack_layer(layer).items()
    }
    facts = json.dumps({"format": FORMAT, **recipe.facts}, sort_keys=True)
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"ream": facts})


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe.

    Raises:
        UserError: the file is missing, damaged or no recipe.
    """
    if not Path(path).is_file():
        raise UserError(f"recipe {path} does not exist")
    try:
        with safe_open(path, framework="numpy") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {}).get("ream", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise UserError(f"recipe {path} is damaged ({error}); make or fetch it again") from None
    if facts.get("format") != FORMAT:
        raise UserError(f"{path} is not a recipe of format {FORMAT}")
    layers: dict[int, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        _, index, field = name.split(".")
        layers.setdefault(int(index), {})[field] = array
    return Recipe({index: unpack_layer(layers[index]) for index in sorted(layers)}, facts)
