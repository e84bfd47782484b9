"""Layers that are asked to keep all their experts: which these are, and whether the model's config can say so."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from ream.errors import UserError
from ream.models.family.architecture import Architecture


def check_ignored(architecture: Architecture, patterns: Sequence[str]) -> None:
    """Refuse to leave experts in some layers alone where config.json has one number of experts for all of them.

    That is so for every model type that transformers knows: the one type with a list by layer (HunYuan) builds its
    experts from a single number all the same. A layer without experts may be named; it is never touched.

    Args:
        architecture: of the model.
        patterns: each the index of a layer, a shell pattern of the start of its tensors' names such as
            ``model.layers.1?``, or a regular expression of it behind ``re:``.

    Raises:
        UserError: a pattern names no layer, is no regular expression, or names a layer with experts.
    """
    for pattern in patterns:
        named = _named(architecture, pattern)
        if with_experts := [layer for layer in named if layer in architecture.moe_layers]:
            raise UserError(
                f"--ignore {pattern}: layer {with_experts[0]} has experts, and config.json has one number of experts "
                f"for all layers ({architecture.family.experts_keys[0]}), from which {architecture.family.model_type} "
                "is built; leave --ignore out, or keep all experts of every layer"
            )


def _named(architecture: Architecture, pattern: str) -> list[int]:
    """Indices of the layers that a pattern names."""
    last = architecture.depth - 1
    if re.fullmatch(r"\d+", pattern):
        if int(pattern) > last:
            raise UserError(f"--ignore {pattern}: the model's layers are 0 to {last}; name one of them")
        return [int(pattern)]
    names = {layer: architecture.layer_prefix(layer).rstrip(".") for layer in range(architecture.depth)}
    if pattern.startswith("re:"):
        try:
            wanted = re.compile(pattern.removeprefix("re:"))
        except re.error as error:
            raise UserError(f"--ignore {pattern}: {error}; give a regular expression behind 're:'") from None
        found = [layer for layer, name in names.items() if wanted.search(name) or wanted.search(name + ".")]
    else:
        found = [layer for layer, name in names.items() if fnmatchcase(name, pattern.rstrip("."))]
    if not found:
        raise UserError(
            f"--ignore {pattern}: no layer is named so; give an index (0 to {last}), a pattern of names such as "
            f"{names[0]}, or a regular expression behind 're:'"
        )
    return found
