"""Filling modules that were built on torch's meta device, without weights."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ream.errors import UserError


def give_buffers(model: Any, config: Any, device: torch.device) -> None:
    """Compute the buffers of what a model has beside its layers, such as the frequencies of rotary embeddings.

    Args:
        model: the text model on the meta device.
        config: of the text model.
        device: where the model computes.
    """
    for name, module in list(model.named_modules()):
        buffers = list(module.buffers(recurse=False))
        inside = name == "layers" or name.startswith("layers.")
        if not inside and buffers and not list(module.parameters()) and any(buffer.is_meta for buffer in buffers):
            model.set_submodule(name, type(module)(config=config).to(device))


def give_layer_buffers(layer: nn.Module, config: Any, device: torch.device) -> None:
    """Compute the buffers of modules in a layer that no checkpoint has, such as rotary embeddings of its own.

    Args:
        layer: on the meta device.
        config: of the text model.
        device: where the layer computes.
    """
    for name, module in list(layer.named_modules()):
        computed = [buffer for own, buffer in module.named_buffers(recurse=False) if own in _left_out(module)]
        configured = "config" in inspect.signature(type(module)).parameters
        if computed and configured and not list(module.parameters()) and all(buffer.is_meta for buffer in computed):
            layer.set_submodule(name, type(module)(config=config).to(device))


def _left_out(module: nn.Module) -> set[str]:
    """Names of a module's buffers that are not saved."""
    return module._non_persistent_buffers_set


def give_others(model: Any, tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Give a text model what it has beside its layers, embedding and final norm (`Family.outside`).

    Args:
        model: on the meta device.
        tensors: by their names in the model.
        device: where the model computes.
    """
    moved = {name: tensor.to(device) for name, tensor in tensors.items()}
    model.load_state_dict(moved, strict=False, assign=True)


def give_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a module without weights its tensors; every one must fit, and none may be missing.

    Raises:
        UserError: the names do not match the modelling code.
    """
    mismatch = module.load_state_dict(dict(tensors), strict=False, assign=True)
    if mismatch.missing_keys or mismatch.unexpected_keys:
        first = (mismatch.missing_keys + mismatch.unexpected_keys)[0]
        raise UserError(
            f"{type(module).__name__}: tensor {first} of the checkpoint and the modelling code do not match"
        )
    empty = [name for name, tensor in module.named_buffers() if tensor.is_meta]
    if empty:
        raise NotImplementedError(f"{type(module).__name__}: buffer {empty[0]} is not in the checkpoint")
