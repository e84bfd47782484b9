"""compressed-tensors' ``pack-quantized``: integers in int32 words with a scale for every group (W4A16, W8A16).

A weight [rows, columns] in codes of ``bits`` bits, in groups of neighbouring columns (or a whole row), is stored as

- ``X_packed``, int32 [rows, ceil(columns * bits / 32)]: the codes, packed along the columns
- ``X_scale`` [rows, groups], float
- ``X_shape``, [2] integers: rows, columns
- ``X_zero_point``, int32 [ceil(rows * bits / 32), groups], unless symmetric: packed along the rows
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ream.errors import UserError
from ream.models.dtypes import DTYPES
from ream.models.quantization.integers import asymmetric, compact, pack, symmetric, unpack
from ream.models.quantization.names import Header, Planned
from ream.models.quantization.scales import SCALES, spread


@dataclass(frozen=True)
class PackQuantized:
    """Packed integers with a scale for every group.

    Attributes:
        bits: of a code, 4 or 8.
        group: columns of a group; None where a whole row is one.
        symmetric: whether there are no zero points.
    """

    bits: int
    group: int | None
    symmetric: bool = True
    key: ClassVar[str] = "_packed"
    optional: ClassVar[tuple[str, ...]] = ("_zero_point", "_g_idx")
    linear: ClassVar[bool] = True

    @property
    def required(self) -> tuple[str, ...]:
        """Codes, scales and shape, and zero points unless the format is symmetric."""
        return ("_packed", "_scale", "_shape") if self.symmetric else ("_packed", "_scale", "_shape", "_zero_point")

    def shape(self, headers: Mapping[str, Header]) -> tuple[int, ...]:
        """[rows, columns], with columns rounded up to whole words: no header has the exact number."""
        rows, words = headers["_packed"].shape
        return (rows, words * (32 // self.bits))

    @property
    def slack(self) -> int:
        """Columns that rounding up to a whole word can add."""
        return 32 // self.bits - 1

    def planned(self, shape: tuple[int, ...]) -> dict[str, Planned]:
        """Packed codes, scales in bfloat16, the shape and, unless the format is symmetric, packed zero points."""
        rows, columns = shape
        groups = math.ceil(columns / self.group) if self.group else 1
        result = {
            "_packed": Planned("I32", (rows, math.ceil(columns * self.bits / 32))),
            "_scale": Planned("BF16", (rows, groups)),
            "_shape": Planned("I64", (2,)),
        }
        if not self.symmetric:
            result["_zero_point"] = Planned("I32", (math.ceil(rows * self.bits / 32), groups))
        return result

    def decode(self, name: str, stored: Mapping[str, Tensor]) -> Tensor:
        """(code - zero point) * scale in float32.

        Raises:
            UserError: a part has another dtype or shape than the config says, or is not supported.
        """
        rows, columns = self._check(name, stored)
        width = self.group or columns
        weight = unpack(stored["_packed"], self.bits, columns)
        if not self.symmetric:
            zero = unpack(stored["_zero_point"].T, self.bits, rows).T
            weight -= spread(zero, (1, width), (rows, columns))
        return weight * spread(stored["_scale"].float(), (1, width), (rows, columns))

    def encode(self, name: str, weight: Tensor, like: Mapping[str, Header]) -> dict[str, Tensor]:
        """Codes and scales of ``integers.symmetric`` or ``integers.asymmetric``; the last group may be smaller.

        Raises:
            UserError: the original's scales are not float32, bfloat16 or float16.
        """
        rows, columns = weight.shape
        width = self.group or columns
        dtype = DTYPES[like["_scale"].dtype]
        if dtype not in SCALES:
            raise UserError(f"{name}_scale is {dtype}; supported is float32, bfloat16 or float16")
        padded = torch.nn.functional.pad(weight, (0, -columns % width))
        groups = padded.reshape(rows, math.ceil(columns / width), width)
        result = {"_shape": torch.tensor([rows, columns], dtype=DTYPES[like["_shape"].dtype])}
        if self.symmetric:
            codes, result["_scale"] = symmetric(groups, self.bits, dtype)
        else:
            codes, result["_scale"], zero = asymmetric(groups, self.bits, dtype)
            result["_zero_point"] = compact(pack(zero.T, self.bits).T)
        result["_packed"] = pack(codes.flatten(-2)[:, :columns], self.bits)
        return result

    def _check(self, name: str, stored: Mapping[str, Tensor]) -> tuple[int, int]:
        """Rows and columns, once all parts have the dtypes and shapes that these need."""
        for suffix in set(stored) - set(self.required):
            raise UserError(f"{name + suffix} is not supported here; dequantise the checkpoint to bfloat16 first")
        if stored["_shape"].numel() != 2:
            raise UserError(f"{name}_shape has {stored['_shape'].numel()} numbers; supported are matrices")
        rows, columns = (int(n) for n in stored["_shape"].flatten())
        for suffix, needed in self.planned((rows, columns)).items():
            part = stored[suffix]
            dtypes = SCALES if suffix == "_scale" else (torch.int32,)
            if suffix != "_shape" and (part.shape != needed.shape or part.dtype not in dtypes):
                raise UserError(
                    f"{name + suffix} is {part.dtype} {list(part.shape)}, where {rows} x {columns} codes of "
                    f"{self.bits} bits in groups of {self.group or columns} need {list(needed.shape)}; correct "
                    f"quantization_config or fetch the checkpoint again"
                )
        return rows, columns


def from_config(config: Mapping[str, Any]) -> PackQuantized:
    """The format of a quantization_config with quant_method compressed-tensors.

    Raises:
        UserError: the config is not pack-quantized integers of 4 or 8 bits, all in one scheme.
    """
    groups = list((config.get("config_groups") or {}).values())
    formats = {str(group.get("format") or config.get("format")) for group in groups} or {str(config.get("format"))}
    if formats != {"pack-quantized"}:
        raise UserError(f"compressed-tensors with format {', '.join(sorted(formats))}; supported is pack-quantized")
    weights = groups[0].get("weights") if groups else None
    if not weights or any(group.get("weights") != weights for group in groups):
        raise UserError(f"compressed-tensors with {len(groups)} config_groups; supported is one scheme for all weights")
    if any(group.get("input_activations") for group in groups):
        raise UserError("compressed-tensors with input_activations; supported is weights only (W4A16, W8A16)")
    if config.get("transform_config") or (config.get("sparsity_config") or {}).get("format", "dense") != "dense":
        raise UserError("compressed-tensors with transform_config or sparsity_config; neither is supported")
    supported: dict[str, tuple[Any, ...]] = {
        "type": ("int", None),
        "num_bits": (4, 8),
        "strategy": ("group", "channel"),
        "actorder": ("static", "weight", None, False),  # which leave the columns in their order
    }
    for key, allowed in supported.items():
        if weights.get(key) not in allowed:
            names = " or ".join(str(value) for value in allowed if value)
            raise UserError(f"compressed-tensors with {key} {weights.get(key)}; supported is {names}")
    size = weights.get("group_size") if weights["strategy"] == "group" else None
    if weights["strategy"] == "group" and not (isinstance(size, int) and size > 0):
        raise UserError(
            f"compressed-tensors with group_size {size}; supported is a number of columns, such as 32 or 128"
        )
    return PackQuantized(weights["num_bits"], size, bool(weights.get("symmetric", True)))
