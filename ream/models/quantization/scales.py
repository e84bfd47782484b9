"""Rounding a scale to the dtype that a checkpoint stores it in, and spreading scales over their blocks."""

import torch
from torch import Tensor

SCALES = (torch.float32, torch.bfloat16, torch.float16)


def rounded(scale: Tensor, dtype: torch.dtype, slack: float) -> Tensor:
    """A scale in ``dtype``: the nearest value, or the next one up where the nearest would cut off the largest weight.

    Args:
        scale: float32, not negative.
        dtype: one of ``SCALES``.
        slack: by how much the scale may be too small until the largest weight, which the exact scale maps to the
            largest code, lies more than half a step beyond that code: only float16's subnormal scales get there. 1.0
            to round up always.
    """
    nearest = scale.to(dtype)
    bits = nearest.view(torch.int16 if dtype.itemsize == 2 else torch.int32)
    larger = (bits + 1).view(dtype)  # of non-negative floats: the next one
    return torch.where(nearest.float() * slack < scale, larger, nearest)


def spread(scale: Tensor, block: tuple[int, int], shape: tuple[int, ...]) -> Tensor:
    """Every block's scale at each of its elements: [..., rows / block, columns / block] to [..., rows, columns]."""
    rows, columns = shape[-2:]
    tall = scale.repeat_interleave(block[0], -2)[..., :rows, :]
    return tall.repeat_interleave(block[1], -1)[..., :columns]
