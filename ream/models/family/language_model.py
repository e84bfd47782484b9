"""The class of transformers that has a checkpoint's text model and its head."""

from typing import Any

from ream.errors import UserError
from ream.models.family.family import Family
from ream.models.family.modelling import model_config, text_part, wrapper_config
from ream.models.storage.checkpoint import Checkpoint


def loads_whole(family: Family) -> bool:
    """Whether the wrapper is loaded: of a derived one, transformers may have no language model of its text alone."""
    return family.derived and family.text is not None


def language_model(checkpoint: Checkpoint, family: Family, trust_remote_code: bool = False) -> tuple[Any, Any]:
    """The class that transformers loads, a text model's or a wrapper's (`loads_whole`), and its configuration.

    Args:
        checkpoint: whose config.json is read.
        family: of the model.
        trust_remote_code: let the model's own configuration code run.

    Raises:
        UserError: transformers has no language model for it, or refuses a value of config.json.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if loads_whole(family):
        from ream.models.family.derived.weightless import whole_class

        config = wrapper_config(checkpoint, family, trust_remote_code)
        if part := _part(family):
            config = text_part(config, part)
        return whole_class(config), config
    config = model_config(checkpoint, family, trust_remote_code)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(
            f"{checkpoint.folder}: transformers has no language model for model_type '{config.model_type}', only one "
            "without a head, so it cannot be evaluated; evaluate a model of the wrapper that it is part of"
        )
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], config


def part_start(checkpoint: Checkpoint, family: Family, trust_remote_code: bool = False) -> str:
    """The start of the names on disk of the part of a model that has its text model and head; "" for the whole model.

    Qwen3-Omni's thinker is such a part.

    Args:
        checkpoint: whose config.json is read.
        family: of the model.
        trust_remote_code: let the model's own configuration code run.
    """
    part = _part(family)
    if not part:
        return ""
    from ream.models.family.derived.weightless import whole_class, whole_model

    config = wrapper_config(checkpoint, family, trust_remote_code)
    kind = whole_class(text_part(config, part))
    return next(f"{path}." for path, module in whole_model(config).named_modules() if type(module) is kind)


def _part(family: Family) -> str:
    """The config key of the part of a model that has its text model; "" where that is the whole model."""
    return (family.text or "").rpartition(".")[0]
