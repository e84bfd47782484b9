"""The tensors of a MoE block as ream would write them with some of its experts, in any order."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ream.core.expert_tables import remapped
from ream.errors import UserError
from ream.models.family.architecture import Architecture
from ream.models.family.family import RouterTensor
from ream.models.family.unread import unread_tensors
from ream.models.storage.checkpoint import Checkpoint


def block_tensors(
    checkpoint: Checkpoint, architecture: Architecture, layer: int, experts: Sequence[int]
) -> dict[str, Tensor]:
    """Names on disk and tensors of a layer's MoE block with these experts, numbered in this order.

    Args:
        checkpoint: whose weights are read, of these experts alone.
        architecture: of the checkpoint.
        layer: index of a MoE layer.
        experts: numbers in the checkpoint.
    """
    family, prefix = architecture.family, architecture.layer_prefix(layer)
    found = {}
    for kind in architecture.layout:
        if kind.stacked:
            name = architecture.tensor_name(layer, kind)
            found[name] = torch.stack([checkpoint.read(name, row=expert) for expert in experts])
        else:
            for position, expert in enumerate(experts):
                name = architecture.tensor_name(layer, kind, position)
                found[name] = checkpoint.read(architecture.tensor_name(layer, kind, expert))
            for row in range(kind.beyond):
                name = architecture.tensor_name(layer, kind, len(experts) + row)
                found[name] = checkpoint.read(architecture.tensor_name(layer, kind, architecture.experts + row))
    for name in checkpoint.logical:
        if not name.startswith(prefix):
            continue
        role = architecture.roles.get(name)
        if role is None and family.in_block(family.module_name(name.removeprefix(prefix))) is not None:
            found[name] = checkpoint.read(name)
        elif role is not None and isinstance(role.kind, RouterTensor):
            found[name] = entries(checkpoint.read(name), role.kind, experts, architecture.experts)
    like = next(tensor for tensor in found.values() if tensor.is_floating_point())
    return found | unread_tensors(architecture, layer, len(experts), found, like.dtype)


def entries(tensor: Tensor, kind: RouterTensor, experts: Sequence[int], count: int) -> Tensor:
    """A router's tensor for these experts, in this order; in a table they stand for the others.

    Args:
        tensor: for all experts.
        kind: of the tensor.
        experts: numbers in the checkpoint.
        count: N, or more than any number in a table.
    """
    if not kind.numbers:
        size = tensor.shape[kind.axis]
        return tensor.index_select(kind.axis, torch.tensor([*experts, *range(size - kind.beyond, size)]))
    group = np.full(max(count, int(tensor.max()) + 1), -1)
    group[list(experts)] = np.arange(len(experts))
    return remapped(tensor, np.array(experts), group)


def check_tables(checkpoint: Checkpoint, architecture: Architecture) -> None:
    """Refuse tables of experts by token id with a number that no expert has.

    Raises:
        UserError: names the table, the number and what is allowed.
    """
    for layer in architecture.moe_layers:
        for router in architecture.routers(layer):
            if not router.numbers:
                continue
            name = architecture.tensor_name(layer, router)
            lowest, highest = checkpoint.read(name).aminmax()
            wrong = lowest if lowest < 0 else highest
            if not 0 <= wrong < architecture.experts:
                raise UserError(
                    f"{checkpoint.folder}: {name} has the expert {int(wrong)}, but the layer's are 0 to "
                    f"{architecture.experts - 1}; fetch it again"
                )
