"""FP8 weights with a scale for every block, as DeepSeek-V3 and Qwen3's FP8 models store them.

``X`` holds codes float8_e4m3fn [..., rows, columns], ``X_scale_inv`` the scales [..., ceil(rows / b), ceil(columns /
c)] of blocks of b x c elements, smaller at the lower and right edge (DeepSeek-V3 report, arXiv 2412.19437, 3.3).
Despite its name, the scale is multiplied with the code: weight = code * scale.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ream.errors import UserError
from ream.models.dtypes import DTYPES
from ream.models.quantization.names import Header, Planned
from ream.models.quantization.scales import SCALES, rounded, spread

LARGEST = 448.0  # the largest float8_e4m3fn; the step below it is 32
SLACK = (LARGEST + 16) / LARGEST  # see `rounded`


@dataclass(frozen=True)
class Fp8Block:
    """FP8 with a scale for every block.

    Attributes:
        block: rows and columns of a block.
        power_of_two: whether scales are powers of two (scale_fmt ue8m0).
    """

    block: tuple[int, int]
    power_of_two: bool = False
    key: ClassVar[str] = "_scale_inv"
    required: ClassVar[tuple[str, ...]] = ("", "_scale_inv")
    optional: ClassVar[tuple[str, ...]] = ()
    linear: ClassVar[bool] = True
    slack: ClassVar[int] = 0

    def shape(self, headers: Mapping[str, Header]) -> tuple[int, ...]:
        """The shape of the codes."""
        return headers[""].shape

    def planned(self, shape: tuple[int, ...]) -> dict[str, Planned]:
        """Codes of that shape and a scale for every block, in float32."""
        *stack, rows, columns = shape
        b, c = self.block
        scales = (*stack, math.ceil(rows / b), math.ceil(columns / c))
        return {"": Planned("F8_E4M3", shape), "_scale_inv": Planned("F32", scales)}

    def decode(self, name: str, stored: Mapping[str, Tensor]) -> Tensor:
        """code * scale in float32.

        Raises:
            UserError: codes or scales of another dtype, or another number of scales than blocks.
        """
        codes, scale = stored[""], stored["_scale_inv"]
        self._check(name, codes.dtype, scale.dtype)
        needed = self.planned(codes.shape)["_scale_inv"].shape
        if scale.shape != needed:
            raise UserError(
                f"{name}_scale_inv has shape {list(scale.shape)}, where {list(codes.shape)} in blocks of "
                f"{list(self.block)} needs {list(needed)}; correct weight_block_size or fetch the checkpoint again"
            )
        return codes.float() * spread(scale.float(), self.block, codes.shape)

    def encode(self, name: str, weight: Tensor, like: Mapping[str, Header]) -> dict[str, Tensor]:
        """scale = max |weight| / 448 over the block, code = weight / scale rounded to nearest, ties to even.

        A power-of-two scale is rounded up. A block of zeros has scale 1. Where the scale's dtype rounds it down, the
        largest weights saturate at ±448, less than half a step away.

        Raises:
            UserError: the original's codes or scales have another dtype.
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
        """max |weight| of every block: [..., rows, columns] to [..., ceil(rows / b), ceil(columns / c)]."""
        (rows, columns), (b, c) = weight.shape[-2:], self.block
        padded = torch.nn.functional.pad(weight.abs(), (0, -columns % c, 0, -rows % b))
        blocks = padded.reshape(*weight.shape[:-2], math.ceil(rows / b), b, math.ceil(columns / c), c)
        return blocks.amax((-3, -1))

    @staticmethod
    def _check(name: str, codes: torch.dtype, scale: torch.dtype) -> None:
        """Refuse dtypes that the format does not have."""
        if codes != torch.float8_e4m3fn or scale not in SCALES:
            raise UserError(
                f"{name} is {codes} with scales {scale}; supported is float8_e4m3fn with float32, bfloat16 or float16: "
                f"dequantise the checkpoint to bfloat16 first"
            )


def from_config(config: Mapping[str, Any]) -> Fp8Block:
    """The format of a quantization_config with quant_method fp8.

    Raises:
        UserError: the config is not block-wise e4m3 with activations quantised on the fly.
    """
    block = config.get("weight_block_size")
    supported: dict[str, tuple[Any, ...]] = {
        "fmt": (None, "e4m3", "e4m3fn", "float8_e4m3fn"),
        "activation_scheme": (None, "dynamic"),  # a static scheme stores an activation scale for each matrix
        "scale_fmt": (None, "float", "ue8m0"),
        "expert_dtype": (None, "fp8"),
    }
    for key, allowed in supported.items():
        if config.get(key) not in allowed:
            names = " or ".join(str(value) for value in allowed if value)
            raise UserError(f"fp8 with {key} {config[key]}; supported is {names}")
    if not (isinstance(block, list | tuple) and len(block) == 2 and all(isinstance(n, int) and n > 0 for n in block)):
        raise UserError(
            f"fp8 with weight_block_size {block}; supported is [rows, columns] of a block, such as [128, 128]"
        )
    return Fp8Block((block[0], block[1]), config.get("scale_fmt") == "ue8m0")
