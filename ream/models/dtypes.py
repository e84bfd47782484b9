"""torch's data types by their names in safetensors headers, and whether values of a tensor are numbers."""

import torch
from torch import Tensor

from ream.models.stored_dtypes import STORED

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, kind.torch) for name, kind in STORED.items()}


def all_finite(tensor: Tensor) -> bool:
    """Whether no value of a floating-point tensor, of 16 bits or more, is NaN or infinite.

    Equivalent to ``torch.isfinite(tensor).all()``, which makes several tensors as large on its way: the least and the
    greatest value are NaN where any is. Of bytes that are no tensor yet: `stored.is_finite`.
    """
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
