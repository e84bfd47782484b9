"""Groups of weights as integers of few bits: the codes, scale and zero point of a group, and codes in int32 words.

weight = (code - zero point) * scale, with code and zero point in [-2^(bits - 1), 2^(bits - 1) - 1]. Groups are
[rows, groups, width]; scales and zero points [rows, groups]; a zero point is a float that holds an integer.
"""

import torch
from torch import Tensor

from ream.models.quantization.scales import rounded

# The scale of a group of zeros, by compressed-tensors' own rule.
LEAST_SCALE = torch.finfo(torch.float32).eps


def limits(bits: int) -> tuple[int, int]:
    """The lowest and the highest code."""
    return -(1 << bits - 1), (1 << bits - 1) - 1


def symmetric(groups: Tensor, bits: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Codes, rounded to nearest with ties to even, and scales, without zero points.

    Two scales cut nothing off: max |w| / high, which uses the codes -high to high, and max(max w / high, min w / low),
    which is finer where the largest weight is negative. The one with the smaller squared error in its group is taken,
    the first if they are equal. Whatever rule the original's producer used (compressed-tensors divides by high + 1/2
    and cuts off half a step, Kimi divides by high), decoded weights come back under their own scale.

    Args:
        groups: float32 [rows, groups, width].
        bits: of a code.
        dtype: of the scales.

    Returns:
        Codes [rows, groups, width], float32, and scales [rows, groups].
    """
    low, high = limits(bits)
    largest, smallest = groups.amax(-1).clamp(min=0), groups.amin(-1).clamp(max=0)
    choices = []
    for exact in (torch.maximum(largest, -smallest) / high, torch.maximum(largest / high, smallest / low)):
        scale = _stored(exact, dtype, 1 - 0.5 / low)
        step = scale.float().unsqueeze(-1)
        codes = (groups / step).round().clamp(low, high)
        choices.append((codes, scale, (codes * step - groups).square().sum(-1, dtype=torch.float64)))
    (codes, scale, error), (finer_codes, finer_scale, finer_error) = choices
    finer = finer_error < error
    return torch.where(finer.unsqueeze(-1), finer_codes, codes), torch.where(finer, finer_scale, scale)


def asymmetric(groups: Tensor, bits: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, scales and zero points by compressed-tensors' rule, which counts 0 among the weights of every group.

    scale = (max w - min w) / (high - low), zero point = low - min w / scale, code = w / scale + zero point.
    The scale is rounded up to its dtype, where compressed-tensors rounds to nearest: with 8 bits, bfloat16's rounding
    of the scale can shift the outermost code by half a step, on top of that code's own rounding.

    Args:
        groups: float32 [rows, groups, width].
        bits: of a code.
        dtype: of the scales.

    Returns:
        Codes [rows, groups, width], scales [rows, groups] and zero points [rows, groups]; codes and zero points are
        float32.
    """
    low, high = limits(bits)
    largest, smallest = groups.amax(-1).clamp(min=0), groups.amin(-1).clamp(max=0)
    scale = _stored((largest - smallest) / (high - low), dtype, 1.0)
    zero = (low - smallest / scale.float()).round().clamp(low, high)
    codes = (groups / scale.float().unsqueeze(-1)).round() + zero.unsqueeze(-1)
    return codes.clamp(low, high), scale, zero


def _stored(exact: Tensor, dtype: torch.dtype, slack: float) -> Tensor:
    """Scales rounded to their dtype, with LEAST_SCALE instead of 0."""
    scale = rounded(exact, dtype, slack)
    return torch.where(scale == 0, torch.tensor(LEAST_SCALE, dtype=dtype, device=scale.device), scale)


def compact(tensor: Tensor) -> Tensor:
    """A row-major copy; contiguous() can leave an axis of length 1 with a stride that view(dtype) refuses."""
    return tensor.clone(memory_format=torch.contiguous_format)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Pack codes [rows, n] of 4 or 8 bits into int32 words [rows, ceil(n * bits / 32)].

    Codes are stored from 0 on (code - low). A row's first code lies in the lowest bits of its first word; its last word
    is filled up with zero bits.
    """
    low, _ = limits(bits)
    octets = torch.nn.functional.pad((codes - low).to(torch.uint8), (0, -codes.shape[-1] % (32 // bits)))
    if bits == 4:
        octets = octets[..., 0::2] | octets[..., 1::2] << 4
    return compact(octets).view(torch.int32)  # little-endian, as safetensors is


def unpack(words: Tensor, bits: int, count: int) -> Tensor:
    """The first ``count`` codes of every row of words, float32 [rows, count]."""
    low, _ = limits(bits)
    octets = compact(words).view(torch.uint8)
    codes = octets if bits == 8 else torch.stack((octets & 15, octets >> 4), -1).flatten(-2)
    return codes[..., :count].float() + low
