"""torch's data types by their names in safetensors headers, and a check that a tensor is finite."""

import torch
from torch import Tensor

from ream.models.stored_dtypes import STORED

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, kind.torch) for name, kind in STORED.items()}


def all_finite(tensor: Tensor) -> bool:
    """Whether no value of a floating-point tensor of 16 bits or more is NaN or infinite.

    Equivalent to ``torch.isfinite(tensor).all()`` without its temporary tensors of the same size: the smallest and the
    largest value are NaN if any value is. For raw bytes see `stored_dtypes.is_finite`.
    """
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
