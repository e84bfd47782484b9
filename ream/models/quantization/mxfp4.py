"""MXFP4, as gpt-oss stores its stacked experts.

``X_blocks`` holds uint8 [N, rows, columns / 32, 16]: 32 neighbouring columns in 16 bytes, two e2m1 codes a byte, the
lower four bits first. ``X_scales`` holds uint8 [N, rows, columns / 32]: the exponent of the block's scale 2^(s - 127)
(OCP Microscaling Formats v1.0, 5 and 6.3). The logical tensor is the transpose, [N, columns, rows], as the model's
``x @ W`` needs it. A single expert is read or written without the first axis.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ream.errors import UserError
from ream.models.quantization.names import Header, Planned

BLOCK = 32
BIAS = 127
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # of codes 0 to 7; bit 3 is the sign
LARGEST_EXPONENT = 2  # of e2m1: 6 = 1.5 * 2^2


def _boundaries() -> Tensor:
    """The bounds that a magnitude must exceed for codes 1 to 7: midpoints, or just below where a tie is rounded up."""
    values = torch.tensor(MAGNITUDES)
    middle = (values[:-1] + values[1:]) / 2
    below = torch.nextafter(middle, torch.zeros(()))
    return torch.where(torch.arange(1, 8) % 2 == 0, below, middle)


@dataclass(frozen=True)
class Mxfp4:
    """Blocks of 32 e2m1 values with a power of two as their scale; the format has no settings."""

    key: ClassVar[str] = "_blocks"
    required: ClassVar[tuple[str, ...]] = ("_blocks", "_scales")
    optional: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[bool] = False
    slack: ClassVar[int] = 0

    def shape(self, headers: Mapping[str, Header]) -> tuple[int, ...]:
        """[..., columns, rows]: the transpose of what is stored."""
        *stack, rows, blocks, _ = headers["_blocks"].shape
        return (*stack, blocks * BLOCK, rows)

    def planned(self, shape: tuple[int, ...]) -> dict[str, Planned]:
        """Bytes of codes and a byte for the scale of every block; ``shape`` is the transpose of what is stored."""
        *stack, columns, rows = shape
        scales = (*stack, rows, math.ceil(columns / BLOCK))
        return {"_blocks": Planned("U8", (*scales, BLOCK // 2)), "_scales": Planned("U8", scales)}

    def decode(self, name: str, stored: Mapping[str, Tensor]) -> Tensor:
        """±magnitude * 2^(s - 127), transposed; NaN where s = 255.

        Raises:
            UserError: a part is not uint8, or the shapes do not fit.
        """
        blocks, scales = stored["_blocks"], stored["_scales"]
        if blocks.dtype != torch.uint8 or scales.dtype != torch.uint8:
            raise UserError(f"{name} is stored as {blocks.dtype} and {scales.dtype}; mxfp4 has uint8 for both")
        if blocks.shape != (*scales.shape, BLOCK // 2):
            raise UserError(
                f"{name}_blocks has shape {list(blocks.shape)}, {name}_scales {list(scales.shape)}; mxfp4 has "
                f"{BLOCK // 2} bytes for every scale: fetch the checkpoint again"
            )
        values = torch.tensor([*MAGNITUDES, *(-value for value in MAGNITUDES)], device=blocks.device)
        powers = torch.tensor([*(2.0 ** (s - BIAS) for s in range(255)), float("nan")], device=blocks.device)
        codes = torch.stack((blocks & 15, blocks >> 4), -1).flatten(-2)
        weight = values[codes.int()] * powers[scales.int()].unsqueeze(-1)
        return weight.flatten(-2).mT.contiguous()

    def encode(self, name: str, weight: Tensor, like: Mapping[str, Header]) -> dict[str, Tensor]:
        """The OCP rule: s - 127 = floor(log2 max |weight|) - 2, magnitudes to nearest, ties to even codes, at most 6.

        Magnitudes between 6 and 8 times the scale become 6: the rule prefers a finer scale to keeping the largest
        value. A block of zeros has s = 0; a zero keeps its sign.

        Raises:
            UserError: the number of columns is not a multiple of 32.
        """
        if weight.shape[-2] % BLOCK:
            raise UserError(f"{name} has {weight.shape[-2]} columns; mxfp4 needs a multiple of {BLOCK}")
        values = weight.mT.contiguous()
        values = values.reshape(*values.shape[:-1], values.shape[-1] // BLOCK, BLOCK)
        largest = values.abs().amax(-1)
        _, exponent = torch.frexp(largest)  # largest = m * 2^exponent with m in [0.5, 1)
        scales = torch.where(largest == 0, 0, (exponent - 1 - LARGEST_EXPONENT + BIAS).clamp(0, 254))
        powers = torch.tensor([2.0 ** (s - BIAS) for s in range(255)], device=weight.device)
        magnitudes = values.abs() / powers[scales].unsqueeze(-1)
        codes = torch.bucketize(magnitudes, _boundaries().to(weight.device), out_int32=True).to(torch.uint8)
        codes = codes | values.signbit().to(torch.uint8) << 3
        return {"_blocks": codes[..., 0::2] | codes[..., 1::2] << 4, "_scales": scales.to(torch.uint8)}


def from_config(config: Mapping[str, Any]) -> Mxfp4:
    """The format of a quantization_config with quant_method mxfp4, which has no settings."""
    return Mxfp4()
