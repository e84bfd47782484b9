"""FP8 weights with a scale for every block, as DeepSeek-V3 and Qwen3's FP8 models store them.

``X`` holds codes float8_e4m3fn [..., rows, columns], ``X_scale_inv`` the scales [..., ceil(rows / b), ceil(columns /
c)] of blocks of b x c elements, smaller at the lower and right edge (DeepSeek-V3 report, arXiv 2412.19437, 3.3).
Despite its name the scale is what a code is multiplied with: weight = code * scale.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ream.errors import UserError
from ream.models.dtypes import DTYPES
from ream.models.quantization.names import Header
from ream.models.quantization.scales import SCALES, rounded, spread

LARGEST = 448.0  # of float8_e4m3fn, whose largest step is 32
SLACK = (LARGEST + 16) / LARGEST


@dataclass(frozen=True)
class Fp8Block:
    """Blocks of ``block`` = (rows, columns); with ``power_of_two`` scales are powers of two (scale_fmt ue8m0)."""

    block: tuple[int, int]
    power_of_two: bool = False
    key: ClassVar[str] = "_scale_inv"
    required: ClassVar[tuple[str, ...]] = ("", "_scale_inv")
    optional: ClassVar[tuple[str, ...]] = ()

    def shape(self, headers: Mapping[str, Header]) -> tuple[int, ...]:
        return headers[""].shape

    def decode(self, name: str, stored: Mapping[str, Tensor]) -> Tensor:
        """code * scale in float32.

        Raises:
            UserError: codes or scales of another dtype, or scales that are not one for every block.
        """
        codes, scale = stored[""], stored["_scale_inv"]
        self._check(name, codes.dtype, scale.dtype)
        needed = [*codes.shape[:-2], *(math.ceil(n / b) for n, b in zip(codes.shape[-2:], self.block, strict=True))]
        if list(scale.shape) != needed:
            raise UserError(
                f"{name}_scale_inv has shape {list(scale.shape)}, where {list(codes.shape)} in blocks of "
                f"{list(self.block)} needs {needed}; correct weight_block_size or fetch the checkpoint again"
            )
        return codes.float() * spread(scale.float(), self.block, codes.shape)

    def encode(self, name: str, weight: Tensor, like: Mapping[str, Header]) -> dict[str, Tensor]:
        """scale = max |weight| / 448 over the block, code = weight / scale rounded to nearest, ties to even.

        A power-of-two scale is the next one up. A block of zeros has scale 1. Where the scale's dtype rounds it down,
        the largest weights saturate at ±448, less than half a step away.
        """
        dtype = DTYPES[like["_scale_inv"].dtype]
        self._check(name, DTYPES[like[""].dtype], dtype)
        scale = self._largest(weight) / LARGEST
        scale = torch.where(scale == 0, 1.0, scale)
        if self.power_of_two:
            mantissa, _ = torch.frexp(scale)  # in [0.5, 1): scale / mantissa is a power of two, exactly
            scale = torch.where(mantissa == 0.5, scale, scale / mantissa)
        stored = rounded(scale, dtype, SLACK)
        codes = (weight / spread(stored.float(), self.block, weight.shape)).clamp(-LARGEST, LARGEST)
        return {"": codes.to(torch.float8_e4m3fn), "_scale_inv": stored}

    def _largest(self, weight: Tensor) -> Tensor:
        """max |weight| of every block, [..., rows / b, columns / c]."""
        (rows, columns), (b, c) = weight.shape[-2:], self.block
        padded = torch.nn.functional.pad(weight.abs(), (0, -columns % c, 0, -rows % b))
        return padded.unflatten(-1, (-1, c)).unflatten(-3, (-1, b)).amax((-3, -1))

    @staticmethod
    def _check(name: str, codes: torch.dtype, scale: torch.dtype) -> None:
        if codes != torch.float8_e4m3fn or scale not in SCALES:
            raise UserError(
                f"{name} is {codes} with scales {scale}; supported is float8_e4m3fn with float32, bfloat16 or float16: "
                f"dequantise the checkpoint to bfloat16 first"
            )


def from_config(config: Mapping[str, Any]) -> Fp8Block:
    """The format that a quantization_config with quant_method fp8 says.

    Raises:
        UserError: not block-wise e4m3 with activations quantised on the fly.
    """
    block = config.get("weight_block_size")
    wanted: dict[str, tuple[Any, ...]] = {
        "fmt": (None, "e4m3", "e4m3fn", "float8_e4m3fn"),
        "activation_scheme": (None, "dynamic"),  # static ones store an activation scale for each matrix
        "scale_fmt": (None, "float", "ue8m0"),
        "expert_dtype": (None, "fp8"),
    }
    for key, allowed in wanted.items():
        if config.get(key) not in allowed:
            names = " or ".join(str(value) for value in allowed if value)
            raise UserError(f"fp8 with {key} {config[key]}; supported is {names}")
    if not (isinstance(block, list | tuple) and len(block) == 2 and all(isinstance(n, int) and n > 0 for n in block)):
        raise UserError(
            f"fp8 with weight_block_size {block}; supported is [rows, columns] of a block, such as [128, 128]"
        )
    return Fp8Block((block[0], block[1]), config.get("scale_fmt") == "ue8m0")
