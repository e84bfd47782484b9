"""Where in a config.json the text model's numbers are: at the top, or one or two levels down.

A key of a deeper level is written with dots, as ``thinker_config.text_config`` (Qwen3-Omni).
"""

from collections.abc import Mapping
from typing import Any


def level(config: Mapping[str, Any], key: str | None) -> Any:
    """The part of a config under a key; the config itself for None, and None where there is no such part."""
    part: Any = config
    for word in key.split(".") if key else ():
        part = part.get(word) if isinstance(part, Mapping) else None
    return part


def replaced(config: Mapping[str, Any], key: str | None, part: Mapping[str, Any]) -> dict[str, Any]:
    """The config with another part under a key; the part itself for None."""
    if key is None:
        return dict(part)
    first, _, rest = key.partition(".")
    return {**config, first: replaced(config[first], rest, part) if rest else dict(part)}
