"""config.json of a compressed checkpoint."""

import json

from ream.models.family.config_levels import level, replaced
from ream.models.family.family import Family
from ream.models.family.multi_token import COUNT_KEYS


def compressed_config(text: str, family: Family, kept: int, drop_multi_token: bool = False) -> str:
    """config.json with the number of experts changed; ``text`` itself where nothing changes.

    Args:
        text: the original's config.json.
        family: of the model.
        kept: K.
        drop_multi_token: whether the checkpoint is written without the multi-token layers.
    """
    config = json.loads(text)
    numbers = level(config, family.text)
    changes = {key: kept for key in family.experts_keys if key in numbers}
    if drop_multi_token and (family.multi_token is not None or family.unwalked):
        counts = COUNT_KEYS if family.multi_token is None else family.multi_token.count_keys
        changes |= {key: 0 for key in counts if key in numbers}
    if all(numbers[key] == value for key, value in changes.items()):
        return text
    config = replaced(config, family.text, {**numbers, **changes})
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"
