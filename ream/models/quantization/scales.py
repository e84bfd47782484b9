"""Rounding a scale to the dtype that a checkpoint stores it in, and repeating scales over their blocks."""

import torch
from torch import Tensor

SCALES = (torch.float32, torch.bfloat16, torch.float16)


def rounded(scale: Tensor, dtype: torch.dtype, slack: float) -> Tensor:
    """A scale in ``dtype``: the nearest value, or the next one up where the nearest would cut off the largest weight.

    Args:
        scale: float32, not negative.
        dtype: one of ``SCALES``.
        slack: the factor by which the exact scale may exceed the rounded one. Beyond it the largest weight, which the
            exact scale maps to the largest code, lies more than half a step above that code; only float16's subnormal
            scales get there. 1.0 always rounds up.
    """
    nearest = scale.to(dtype)
    bits = nearest.view(torch.int16 if dtype.itemsize == 2 else torch.int32)
    larger = (bits + 1).view(dtype)  # the next float, as the scale is not negative
    return torch.where(nearest.float() * slack < scale, larger, nearest)


def spread(scale: Tensor, block: tuple[int, int], shape: tuple[int, ...]) -> Tensor:
    """Repeat each block's scale over its elements: [..., rows / block, columns / block] to [..., rows, columns]."""
    rows, columns = shape[-2:]
    tall = scale.repeat_interleave(block[0], -2)[..., :rows, :]
    return tall.repeat_interleave(block[1], -1)[..., :columns]
