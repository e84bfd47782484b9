"""Tensors that transformers expects for rows of a router without an expert, and never reads (LongCat-Flash).

transformers 5.23 gives its experts module gate and up projections for the identity experts, too. The published
checkpoints have none. Zeros stand for them wherever tensors are given to transformers.
"""

from collections.abc import Collection

import torch
from torch import Tensor

from ream.models.family.architecture import Architecture
from ream.models.family.layout import PARTS


def unread_tensors(
    architecture: Architecture, layer: int, experts: int, there: Collection[str], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Names on disk and zeros for those tensors that a layer lacks.

    Args:
        architecture: of the checkpoint.
        layer: index of a MoE layer.
        experts: number that the layer has now.
        there: names of tensors that it has.
        dtype: of the zeros.
    """
    wanted = {
        field: kind.beyond for kind in architecture.family.module_layout for field in PARTS[kind.part] if kind.beyond
    }
    found = {}
    for kind in architecture.layout:
        rows = max((wanted.get(field, 0) for field in PARTS[kind.part]), default=0)
        for index in range(experts, experts + rows):
            name = architecture.tensor_name(layer, kind, index)
            if not kind.stacked and name not in there:
                found[name] = torch.zeros(kind.shape(architecture.expert_hidden, architecture.width), dtype=dtype)
    return found
