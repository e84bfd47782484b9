"""Data types by their names in safetensors headers, and whether values of them are numbers."""

import torch
from torch import Tensor

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def all_finite(tensor: Tensor) -> bool:
    """Whether no value of a floating-point tensor, of 16 bits or more, is NaN or infinite.

    Equivalent to ``torch.isfinite(tensor).all()``, which makes several tensors as large on its way: the least and the
    greatest value are NaN where any is.
    """
    return tensor.numel() == 0 or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
