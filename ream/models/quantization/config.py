"""What config.json says about quantisation, and the config.json of the same model without it."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ream.errors import UserError
from ream.models.quantization.config_types import SHOWN, Quantization, validated
from ream.models.quantization.names import Format

KEYS = ("quantization_config", "compression_config")  # the latter is of compressed-tensors' first releases
DTYPE_KEYS = ("dtype", "torch_dtype")
EXPERT_DTYPES = (None, "fp8")  # of config.json itself, where experts may be in another format than all else
# Keys of quantization_config that list the modules left unquantised.
LEFT_OUT = ("ignore", "modules_to_not_convert", "ignored_layers")


def format_of(config: Mapping[str, Any], where: str = "config.json") -> Format | None:
    """The format of a checkpoint's quantised tensors; None where its config says nothing of quantisation.

    Args:
        config: content of config.json; a multimodal model may have its quantization_config under text_config.
        where: the file, for messages.

    Raises:
        UserError: the method or a setting is not supported, or there are two quantization_configs that differ.
    """
    settings = [level[key] for level in _levels(config) for key in KEYS if level.get(key)]
    if not settings:
        return None
    for setting in settings:
        if not isinstance(setting, dict):
            raise UserError(f"{where}: its quantization_config is {setting!r:.100}, not an object; fetch it again")
    from ream.models.quantization.methods import METHODS  # which imports torch

    if any(other != settings[0] for other in settings):
        raise UserError(f"{where} has two quantization_configs that differ; keep the one that matches its weights")
    method = str(settings[0].get("quant_method"))
    if method not in METHODS:
        raise UserError(
            f"{where}: quantization_config: quant_method {method:.50} is not supported; supported are "
            f"{', '.join(METHODS)}: dequantise the checkpoint to bfloat16 first"
        )
    validated(Quantization, settings[0], f"{where}: quantization_config")
    for level in _levels(config):
        if level.get("expert_dtype") not in EXPERT_DTYPES:
            raise UserError(
                f"{where}: expert_dtype {level['expert_dtype']!r:.50} beside quant_method {method} (DeepSeek-V4 as "
                "published) is not supported; supported are experts in the format of quantization_config: dequantise "
                "the checkpoint to bfloat16 first"
            )
    try:
        return METHODS[method](settings[0])
    except UserError as error:
        raise UserError(f"{where}: {error}; dequantise any other checkpoint to bfloat16 first") from None


def unquantised_config(text: str) -> str:
    """The text of config.json for the same tensors in bfloat16: that dtype, and no quantization_config."""
    config = json.loads(text)
    levels = _levels(config)
    for level in levels:
        for key in KEYS:
            level.pop(key, None)
        level.update({key: "bfloat16" for key in DTYPE_KEYS if key in level})
    if not any(key in level for level in levels for key in DTYPE_KEYS):
        config["torch_dtype"] = "bfloat16"  # the name that every release of transformers reads
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def left_plain(config: Mapping[str, Any]) -> Callable[[str], bool]:
    """A function that says whether a module of that name stays unquantised.

    Args:
        config: the quantization_config. It lists names of modules (whole, or parts of them between dots, so that all
            modules inside are meant, too) and, after ``re:``, regular expressions, which may take exponential time.

    Raises:
        UserError: a regular expression is not one.
    """
    entries = [str(entry) for key in LEFT_OUT for entry in config.get(key) or ()]
    patterns = [_pattern(entry.removeprefix("re:")) for entry in entries if entry.startswith("re:")]
    plain = [entry for entry in entries if not entry.startswith("re:")]

    def check(module: str) -> bool:
        dotted = f".{module}."
        return any(f".{entry}." in dotted for entry in plain) or any(pattern.match(module) for pattern in patterns)

    return check


def _pattern(text: str) -> re.Pattern[str]:
    """A compiled regular expression of a quantization_config."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(
            f"quantization_config lists {text[:SHOWN]!r}, which is not a regular expression ({error}); correct it"
        ) from None


def _levels(config: Mapping[str, Any]) -> list[Any]:
    """The config and, if it has one, its text_config."""
    return [config, *([config["text_config"]] if isinstance(config.get("text_config"), Mapping) else [])]
