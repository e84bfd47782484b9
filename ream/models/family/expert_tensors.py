"""Turning the tensors of a layout into the fields of experts, and back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ream.core.experts import Expert
from ream.models.family.layout import PARTS, ExpertTensor, Layout


def unpack(kind: ExpertTensor, tensor: Tensor) -> dict[str, Tensor]:
    """The fields of an Expert that a tensor holds, as views.

    Args:
        kind: of the tensor.
        tensor: of one expert or, with a leading axis, of several.
    """
    rows = tensor.transpose(-1, -2) if kind.transposed else tensor
    names = PARTS[kind.part]
    if len(names) == 1:
        return {names[0]: rows}
    axis = -1 if kind.part.endswith("bias") else -2
    if kind.interleaved:
        halves = [rows.movedim(axis, 0)[start::2].movedim(0, axis) for start in range(2)]
    else:
        halves = list(rows.chunk(2, dim=axis))
    return dict(zip(names, halves, strict=True))


def pack(kind: ExpertTensor, expert: Expert) -> Tensor:
    """One expert's share of a tensor, from the fields that it holds: the inverse of `unpack`."""
    fields = [getattr(expert, name) for name in PARTS[kind.part]]
    if kind.interleaved:
        rows = torch.stack(fields, dim=1).flatten(0, 1)
    else:
        rows = fields[0] if len(fields) == 1 else torch.cat(fields)
    return rows.T.contiguous() if kind.transposed else rows.contiguous()


def unpacked(layout: Layout, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All fields of an Expert that a layout's tensors hold, as views.

    Args:
        layout: of the tensors.
        tensors: by their names in the layout, of one expert or stacked.
    """
    return {field: part for kind in layout for field, part in unpack(kind, tensors[kind.name]).items()}
