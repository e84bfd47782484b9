"""The quantised formats that can be read and written."""

from collections.abc import Callable, Mapping
from typing import Any

from ream.models.quantization import fp8_block, mxfp4, pack_quantized
from ream.models.quantization.names import Format

# quant_method to the function that makes the format of a quantization_config.
METHODS: dict[str, Callable[[Mapping[str, Any]], Format]] = {
    "fp8": fp8_block.from_config,
    "compressed-tensors": pack_quantized.from_config,
    "mxfp4": mxfp4.from_config,
}
