"""The configuration from which transformers builds a checkpoint's text model."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from ream.errors import UNUSABLE, UserError, one_line
from ream.models.family.family import Family
from ream.models.storage.checkpoint import Checkpoint


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what transformers raises in the block, which builds something from a config alone, into one line.

    Args:
        path: the config.json.

    Raises:
        UserError: transformers cannot use the config.
    """
    from huggingface_hub.errors import StrictDataclassError

    try:
        yield
    except (StrictDataclassError, *UNUSABLE) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UserError(
            f"{path}: transformers cannot build the model from it ({reason}); correct it, or fetch it again"
        ) from error


def model_config(checkpoint: Checkpoint, family: Family, trust_remote_code: bool = False, multi_token: int = 0) -> Any:
    """A transformers configuration of the text model alone, without quantisation.

    Args:
        checkpoint: whose config.json is read.
        family: of the model.
        trust_remote_code: let the model's own configuration code run.
        multi_token: number of multi-token layers to count among the decoder's; transformers' models have none.

    Raises:
        UserError: transformers refuses a value of config.json.
    """
    with explained(checkpoint.folder / "config.json"):
        config = _tied(_read(checkpoint, family, trust_remote_code), checkpoint, family, family.text)
        if multi_token:
            types = getattr(config, "layer_types", None)
            config.num_hidden_layers += multi_token
            if types is not None:  # multi-token layers attend to all tokens, whatever alternates in the decoder
                config.layer_types = [*types, *["full_attention"] * multi_token]
        return config


def text_part(config: Any, key: str | None) -> Any:
    """The text model's part of a transformers configuration (`Family.text`)."""
    return reduce(getattr, key.split("."), config) if key else config


def wrapper_config(checkpoint: Checkpoint, family: Family, trust_remote_code: bool = False) -> Any:
    """A transformers configuration of the whole model that the text model is part of, without quantisation.

    Raises:
        UserError: see `model_config`.
    """
    with explained(checkpoint.folder / "config.json"):
        return _tied(_read(checkpoint, family, trust_remote_code), checkpoint, family, None)


def _tied(config: Any, checkpoint: Checkpoint, family: Family, part: str | None) -> Any:
    """A copy of a configuration, or of a part, that says whether the head is the embedding, and no quantisation."""
    config = copy.deepcopy(text_part(config, part))
    config.tie_word_embeddings = family.ties_head(checkpoint.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


def _read(checkpoint: Checkpoint, family: Family, trust_remote_code: bool) -> Any:
    """The configuration of config.json, of the whole model."""
    from transformers import CONFIG_MAPPING, AutoConfig

    if family.modelling is None:
        return AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=trust_remote_code)
    foreign = ("model_type", "auto_map", "architectures", "quantization_config", "transformers_version")
    known = {key: value for key, value in checkpoint.config.items() if key not in foreign}
    configuration: Any = CONFIG_MAPPING[family.modelling]
    return configuration.from_dict(known)


def set_experts(config: Any, family: Family, experts: int) -> None:
    """Set the number of experts in a transformers configuration, under every key of the family's that it has."""
    for key in family.experts_keys:
        if hasattr(config, key):
            setattr(config, key, experts)
