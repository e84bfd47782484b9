"""The tensors of the compressed text model by transformers' names, made from the bytes that would be written."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ream.core.recipe import Recipe
from ream.models.dtypes import DTYPES
from ream.models.family.architecture import Architecture
from ream.models.family.family import Family
from ream.models.family.names import UNNEEDED
from ream.models.family.unread import unread_tensors
from ream.models.quantization.names import logical_names
from ream.models.quantization.tensors import read_logical
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.multi_token import multi_token_tensors
from ream.recipe.output_tensors import output_tensors


def text_state_dict(
    checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe | None, whole: bool = False
) -> dict[str, Tensor]:
    """The text model's tensors under a recipe, by the names of transformers' text-only model.

    Multi-token layers are left out, for transformers' models do not have them, and tensors that no layer needs.

    Args:
        checkpoint: the original.
        architecture: of the original.
        recipe: what becomes of the experts; None for the original itself.
        whole: with the tensors that a wrapper has beside its text model, all by their names on disk.
    """
    left_out = multi_token_tensors(checkpoint, architecture)
    prefixes = ("",) if whole else tuple(architecture.family.text_prefixes)
    found = {
        name if whole else text_name(architecture.family, name): tensor
        for name, tensor in _tensors(checkpoint, architecture, recipe)
        if name.startswith(prefixes) and name not in left_out and not name.endswith(UNNEEDED)
    }
    return found | _unread(architecture, recipe, found)


def _unread(architecture: Architecture, recipe: Recipe | None, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that transformers expects beside these and never reads; of a model of text alone."""
    experts = architecture.experts if recipe is None else len(next(iter(recipe.layers.values())).groups.kept)
    like = next(iter(found.values()))
    layers = [layer for layer in architecture.moe_layers if layer < architecture.layers]
    return {
        name: tensor
        for layer in layers
        for name, tensor in unread_tensors(architecture, layer, experts, found, like.dtype).items()
    }


def text_name(family: Family, name: str) -> str:
    """The name in transformers' text-only model of a tensor of the text model on disk."""
    prefix = next(prefix for prefix in family.text_prefixes if name.startswith(prefix))
    return family.text_prefixes[prefix] + name.removeprefix(prefix)


def _tensors(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe | None) -> Iterator[tuple[str, Tensor]]:
    """Names and values of the model's tensors, quantised ones decoded."""
    if recipe is None:
        yield from ((name, checkpoint.read(name)) for name in checkpoint.logical)
        return
    written = {
        tensor.name: tensor
        for tensors in output_tensors(checkpoint, architecture, recipe).values()
        for tensor in tensors
    }

    def read(name: str) -> Tensor:
        """The tensor whose bytes would be written under a name."""
        tensor = written[name]
        data = bytearray().join(tensor.make())
        return torch.frombuffer(data, dtype=DTYPES[tensor.dtype]).reshape(tensor.shape)

    form = checkpoint.form
    for name, parts in logical_names(form, written).items():
        yield name, read(name) if set(parts) == {""} else read_logical(form, name, parts, read)
