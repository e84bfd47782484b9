"""Recipes on disk: one safetensors file, the facts as JSON in its metadata.

Without corrections a recipe has a few MB. With them it has the size of the kept experts' corrected projections, and
these are written and read one at a time. Each addition that an older ream would silently ignore has a format of its
own, which the older ream refuses.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ream.core.grouping import Groups
from ream.core.recipe import PROJECTIONS, LayerRecipe, Recipe
from ream.errors import UserError
from ream.machine.documents import parse_json
from ream.machine.files import replacing
from ream.recipe.recipe_rules import check_arrays, check_facts, check_finite, check_header
from ream.recipe.stored_corrections import StoredCorrections

if TYPE_CHECKING:
    from torch import Tensor

    from ream.models.storage.shard_writing import OutputTensor

FORMATS = "ream-recipe-1", "ream-recipe-2", "ream-recipe-3", "ream-recipe-4", "ream-recipe-5"
FORMAT, CORRECTED_FORMAT, NEURON_FORMAT, PROJECTIONS_FORMAT, ROUTER_FORMAT = FORMATS


def pack_layer(layer: LayerRecipe) -> dict[str, np.ndarray]:
    """A layer's decisions as named arrays, without its corrections."""
    absorbed = sorted(layer.permutations)
    rows = [layer.permutations[expert] for expert in absorbed]
    width = len(rows[0]) if rows else 0
    index_dtype = np.int16 if width <= np.iinfo(np.int16).max else np.int32
    assembled = sorted(layer.neurons)
    neurons = {
        "assembled": np.array(assembled, dtype=np.int32),
        "neurons": np.array([layer.neurons[position] for position in assembled], dtype=np.int32),
    }
    routed = {} if layer.routed_tokens is None else {"routed_tokens": layer.routed_tokens}
    routed |= {} if layer.router is None else {"router": layer.router}
    return (
        (neurons if assembled else {})
        | routed
        | {
            "kept": layer.groups.kept.astype(np.int32),
            "group": layer.groups.group.astype(np.int32),
            "weights": layer.weights,
            "saliency": layer.saliency,
            "absorbed": np.array(absorbed, dtype=np.int32),
            "permutations": np.array(rows, dtype=index_dtype).reshape(len(rows), width),
        }
    )


def unpack_layer(arrays: Mapping[str, np.ndarray]) -> LayerRecipe:
    """The inverse of `pack_layer`."""
    return LayerRecipe(
        groups=Groups(arrays["kept"].astype(np.int64), arrays["group"].astype(np.int64)),
        weights=arrays["weights"],
        saliency=arrays["saliency"],
        permutations=dict(zip(arrays["absorbed"].tolist(), arrays["permutations"].astype(np.int64), strict=True)),
        neurons=dict(zip(arrays["assembled"].tolist(), arrays["neurons"].astype(np.int64), strict=True))
        if "assembled" in arrays
        else {},
        routed_tokens=arrays.get("routed_tokens"),
        router=arrays.get("router"),
    )


def recipe_tensors(layer: LayerRecipe) -> dict[str, "Tensor"]:
    """A layer's decisions and corrections as named tensors, for a file that `read_layer` reads."""
    import torch

    arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in pack_layer(layer).items()}
    return arrays | {
        correction_name(part, position): tensor
        for position, parts in layer.corrections.items()
        for part, tensor in parts.items()
    }


def recipe_from_tensors(tensors: Mapping[str, "Tensor"]) -> LayerRecipe:
    """The inverse of `recipe_tensors`; tensors with other names are left out."""
    corrections: dict[int, dict[str, Tensor]] = {}
    for name in filter(_is_correction, tensors):
        part, position = name.split(".")
        corrections.setdefault(int(position), {})[part] = tensors[name]
    arrays = {name: tensor.numpy() for name, tensor in tensors.items() if "." not in name}
    return replace(unpack_layer(arrays), corrections=dict(sorted(corrections.items())))


def correction_name(part: str, position: int) -> str:
    """The name of a corrected projection in a file, after the layer's prefix.

    Args:
        part: one of `ream.core.recipe.PROJECTIONS`.
        position: of the expert among the kept ones.
    """
    return f"{part}.{position}"


def _is_correction(name: str) -> bool:
    """Whether a name in a file, with or without a layer's prefix, is a `correction_name`."""
    return name.split(".")[-2:-1] in [[part] for part in PROJECTIONS]


def read_layer(path: Path) -> LayerRecipe:
    """Read a layer from a file of its `recipe_tensors`; corrections stay in the file, which must not be moved."""
    with safe_open(path, framework="numpy") as file:
        names = list(file.keys())
        arrays = {name: file.get_tensor(name) for name in names if not _is_correction(name)}
    return _layer(path, "", arrays, names)


def save_recipe(path: str | Path, recipe: Recipe) -> None:
    """Write a recipe atomically."""
    arrays = {
        f"layers.{index}.{name}": np.ascontiguousarray(array)
        for index, layer in recipe.layers.items()
        for name, array in pack_layer(layer).items()
    }
    corrected = frozenset[str]().union(*(layer.corrected for layer in recipe.layers.values()))
    metadata = {"ream": json.dumps({**recipe.facts, "format": _format(recipe, corrected)}, sort_keys=True)}
    if not corrected:
        with replacing(path) as temporary:
            save_file(arrays, temporary, metadata=metadata)
        return
    from ream.models.storage.shard_writing import write_shard
    from ream.models.stored_dtypes import STORED

    tensors = [_array_tensor(name, array) for name, array in arrays.items()]
    for index, layer in recipe.layers.items():
        tensors += _correction_tensors(f"layers.{index}.", layer)
    # Larger elements first, so that every tensor begins at a multiple of its element size.
    tensors.sort(key=lambda tensor: (-STORED[tensor.dtype].bytes, tensor.name))
    write_shard(Path(path), tensors, json.dumps({"__metadata__": metadata}).encode())


def _format(recipe: Recipe, corrected: frozenset[str]) -> str:
    """The oldest format that has everything the recipe has; ``corrected`` are the projections that it corrects."""
    if any(layer.router is not None for layer in recipe.layers.values()):
        return ROUTER_FORMAT
    if corrected - {"down"}:
        return PROJECTIONS_FORMAT
    if any(layer.neurons for layer in recipe.layers.values()):
        return NEURON_FORMAT
    return CORRECTED_FORMAT if corrected else FORMAT


def _array_tensor(name: str, array: np.ndarray) -> "OutputTensor":
    """An array to be written under a name."""
    from ream.models.storage.shard_writing import OutputTensor

    dtype = f"{array.dtype.kind.upper()}{8 * array.dtype.itemsize}"
    return OutputTensor(name, dtype, array.shape, lambda: [array.tobytes()])


def _correction_tensors(prefix: str, layer: LayerRecipe) -> "Iterator[OutputTensor]":
    """The corrections of a layer, each read only when it is written.

    All corrections of a part have one shape and dtype, so only the first position is read beforehand.
    """
    from ream.models.dtypes import DTYPES
    from ream.models.storage.shard_writing import OutputTensor, tensor_bytes

    def correction_bytes(part: str, position: int) -> list[bytes]:
        """The bytes of one correction."""
        return [tensor_bytes(layer.corrections[position][part])]

    for first_position in list(layer.corrections)[:1]:
        for part, first in layer.corrections[first_position].items():
            dtype_name = next(name for name, dtype in DTYPES.items() if dtype == first.dtype)
            for position in layer.corrections:
                name = prefix + correction_name(part, position)
                yield OutputTensor(name, dtype_name, tuple(first.shape), partial(correction_bytes, part, position))


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe; its corrections stay in the file, which must not be moved while they are used.

    Raises:
        UserError: the file is missing, damaged or not a recipe (`ream.recipe.recipe_rules`).
    """
    if not Path(path).is_file():
        raise UserError(
            f"recipe {path} does not exist or is not a regular file; name the recipe of an output, ream/recipe.ream"
        )
    check_header(path)
    try:
        with safe_open(path, framework="numpy") as file:
            facts = parse_json((file.metadata() or {}).get("ream", "{}"), f"{path}: its metadata 'ream'")
            if not isinstance(facts, dict) or facts.get("format") not in FORMATS:
                raise UserError(f"{path} is not a recipe of format {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
            names = list(file.keys())
            check_facts(path, facts)
            check_arrays(path)
            arrays = {name: file.get_tensor(name) for name in names if not _is_correction(name)}
    except (SafetensorError, OSError) as error:
        raise UserError(f"recipe {path} is damaged ({error}); make or fetch it again") from None
    check_finite(path, arrays)
    indices = sorted({int(name.split(".")[1]) for name in names})
    return Recipe({index: _layer(Path(path), f"layers.{index}.", arrays, names) for index in indices}, facts)


def _layer(path: Path, prefix: str, arrays: Mapping[str, np.ndarray], names: list[str]) -> LayerRecipe:
    """The layer whose arrays, and whose corrections in the file, have a prefix to their names."""
    layer_arrays = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    stored: dict[int, dict[str, str]] = {}
    for part in PROJECTIONS:
        start = f"{prefix}{part}."
        for name in names:
            if name.startswith(start):
                stored.setdefault(int(name.removeprefix(start)), {})[part] = name
    if not stored:
        return unpack_layer(layer_arrays)
    return replace(unpack_layer(layer_arrays), corrections=StoredCorrections(path, dict(sorted(stored.items()))))
