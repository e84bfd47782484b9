"""What a quantised format would store for a matrix, where only config.json is known and no shard's header."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ream.models.quantization.fp8_block import Fp8Block
from ream.models.quantization.mxfp4 import BLOCK, Mxfp4
from ream.models.quantization.names import Format
from ream.models.quantization.pack_quantized import PackQuantized

# Keys of quantization_config with the modules that stay as they are.
LEFT_OUT = ("ignore", "modules_to_not_convert", "ignored_layers")
Stored = dict[str, tuple[str, tuple[int, ...]]]


def stored_as(form: Format, shape: tuple[int, ...]) -> Stored:
    """Suffixes with the dtype and the shape of what a format stores for a logical matrix.

    Of scales config.json does not say the dtype: bfloat16 is taken for packed integers, float32 for FP8's.

    Args:
        form: of the checkpoint.
        shape: of the matrix as the model has it.

    Raises:
        TypeError: a format that has no plan here.
    """
    *stack, rows, columns = shape
    if isinstance(form, Fp8Block):
        b, c = form.block
        scales = (*stack, math.ceil(rows / b), math.ceil(columns / c))
        return {"": ("F8_E4M3", shape), "_scale_inv": ("F32", scales)}
    if isinstance(form, PackQuantized):
        groups = math.ceil(columns / form.group) if form.group else 1
        result: Stored = {
            "_packed": ("I32", (rows, math.ceil(columns * form.bits / 32))),
            "_scale": ("BF16", (rows, groups)),
            "_shape": ("I64", (2,)),
        }
        if not form.symmetric:
            result["_zero_point"] = ("I32", (math.ceil(rows * form.bits / 32), groups))
        return result
    if isinstance(form, Mxfp4):  # the logical tensor is the transpose
        blocks = (*stack, columns, math.ceil(rows / BLOCK))
        return {"_blocks": ("U8", (*blocks, BLOCK // 2)), "_scales": ("U8", blocks)}
    raise TypeError(f"no plan for {type(form).__name__}")


def left_plain(config: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether a module is one that quantization_config leaves unquantised.

    Args:
        config: the quantization_config. Its entries are names of modules, whole or from a dot on, of modules above
            them, or after ``re:`` regular expressions.
    """
    entries = [str(entry) for key in LEFT_OUT for entry in config.get(key) or ()]
    patterns = [re.compile(entry.removeprefix("re:")) for entry in entries if entry.startswith("re:")]
    plain = [entry for entry in entries if not entry.startswith("re:")]

    def check(module: str) -> bool:
        inside = f".{module}."
        return any(f".{entry}." in inside for entry in plain) or any(pattern.match(module) for pattern in patterns)

    return check
