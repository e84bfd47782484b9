"""The file of a grouping: which experts stay and which group each absorbed expert belongs to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe
from ream.machine.files import read_json, write_json


def write_grouping(path: Path, layers: Mapping[int, LayerRecipe], facts: Mapping[str, Any]) -> None:
    """Write the groups, merge weights and saliencies of every layer as JSON.

    Args:
        path: the file.
        layers: layer index to its recipe; permutations are not written.
        facts: provenance, see `recipe_facts`.
    """
    content = {
        str(index): {
            "kept": layer.groups.kept.tolist(),
            "group": layer.groups.group.tolist(),
            "weights": layer.weights.tolist(),
            "saliency": layer.saliency.tolist(),
            "routed_tokens": None if layer.routed_tokens is None else layer.routed_tokens.tolist(),
        }
        for index, layer in layers.items()
    }
    write_json(path, {"facts": dict(facts), "layers": content})


def read_grouping(path: Path) -> tuple[dict[int, LayerRecipe], dict[str, Any]]:
    """The decisions of a grouping as recipes without permutations, and the facts.

    Raises:
        UserError: the file is missing or not JSON.
    """
    stored = read_json(path)
    layers = {
        int(index): LayerRecipe(
            Groups(np.array(layer["kept"], dtype=np.int64), np.array(layer["group"], dtype=np.int64)),
            np.array(layer["weights"]),
            np.array(layer["saliency"]),
            routed_tokens=None if layer["routed_tokens"] is None else np.array(layer["routed_tokens"]),
        )
        for index, layer in stored["layers"].items()
    }
    return layers, stored["facts"]
