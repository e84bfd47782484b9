"""The configuration from which transformers builds a checkpoint's text model."""

import copy
from typing import Any

from ream.errors import UserError
from ream.models.family.family import Family
from ream.models.storage.checkpoint import Checkpoint


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
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING, AutoConfig

    try:
        if family.modelling is not None:
            foreign = ("model_type", "auto_map", "architectures", "quantization_config", "transformers_version")
            known = {key: value for key, value in checkpoint.config.items() if key not in foreign}
            config: Any = CONFIG_MAPPING[family.modelling].from_dict(known)
        else:
            config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=trust_remote_code)
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{checkpoint.folder / 'config.json'}: {reason}; correct it, or fetch it again") from error
    config = copy.deepcopy(getattr(config, family.text) if family.text else config)
    config.tie_word_embeddings = family.ties_head(checkpoint.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    if multi_token:
        types = getattr(config, "layer_types", None)
        config.num_hidden_layers += multi_token
        if types is not None:  # multi-token layers attend to all tokens, whatever alternates in the decoder
            config.layer_types = [*types, *["full_attention"] * multi_token]
    return config


def set_experts(config: Any, family: Family, experts: int) -> None:
    """Set the number of experts in a transformers configuration, under every key of the family's that it has."""
    for key in family.experts_keys:
        if hasattr(config, key):
            setattr(config, key, experts)
