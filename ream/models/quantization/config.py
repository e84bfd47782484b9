"""What config.json says about quantisation, and config.json of the same model without it."""

import json
from collections.abc import Mapping
from typing import Any

from ream.errors import UserError
from ream.models.quantization.names import Format

KEYS = ("quantization_config", "compression_config")  # the latter: compressed-tensors' first releases
DTYPE_KEYS = ("dtype", "torch_dtype")


def format_of(config: Mapping[str, Any], where: str = "config.json") -> Format | None:
    """The format of a checkpoint's quantised tensors; None if its config says nothing.

    Args:
        config: of config.json; a multimodal model's may say it under text_config.
        where: for messages.

    Raises:
        UserError: a method or a setting that is not supported.
    """
    found = [level[key] for level in _levels(config) for key in KEYS if level.get(key)]
    if not found:
        return None
    from ream.models.quantization.methods import METHODS  # which imports torch

    if any(other != found[0] for other in found):
        raise UserError(f"{where} has two quantization_configs that differ; keep the one that its weights are in")
    method = str(found[0].get("quant_method"))
    if method not in METHODS:
        raise UserError(
            f"{where}: quant_method {method} is not supported, {', '.join(METHODS)} are; "
            f"dequantise the checkpoint to bfloat16 first"
        )
    try:
        return METHODS[method](found[0])
    except UserError as error:
        raise UserError(f"{where}: {error}; dequantise any other checkpoint to bfloat16 first") from None


def unquantised_config(text: str) -> str:
    """config.json for the same tensors written in bfloat16: no quantization_config, dtype bfloat16."""
    config = json.loads(text)
    levels = _levels(config)
    for level in levels:
        for key in KEYS:
            level.pop(key, None)
        level.update({key: "bfloat16" for key in DTYPE_KEYS if key in level})
    if not any(key in level for level in levels for key in DTYPE_KEYS):
        config["torch_dtype"] = "bfloat16"  # the name that every release of transformers reads
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _levels(config: Mapping[str, Any]) -> list[Any]:
    """The config and, if it has one, its text_config."""
    return [config, *([config["text_config"]] if isinstance(config.get("text_config"), Mapping) else [])]
