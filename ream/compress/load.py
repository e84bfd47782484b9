"""The whole model in memory under a recipe, for evaluation: no checkpoint is written."""

import copy
from typing import Any

import torch

from ream.compress.apply import state_dict
from ream.core.recipe import Recipe
from ream.models.architecture import Architecture
from ream.models.checkpoint import Checkpoint


def load_model(
    checkpoint: Checkpoint,
    architecture: Architecture,
    recipe: Recipe | None,
    device: torch.device,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
) -> Any:
    """A transformers causal language model with the tensors that the recipe's checkpoint would have.

    Args:
        checkpoint: the original. architecture: what it is.
        recipe: None for the original itself.
        device, dtype: of the model's weights.
        trust_remote_code: let the model's own configuration code run.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig
    from transformers.utils import logging

    config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=trust_remote_code)
    if recipe is not None:
        config = copy.deepcopy(config)
        kept = len(next(iter(recipe.layers.values())).groups.kept)
        for key in architecture.family.experts_keys:
            if hasattr(config, key):
                setattr(config, key, kept)
    logging.disable_progress_bar()
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model = model_class.from_pretrained(
        None, config=config, state_dict=state_dict(checkpoint, architecture, recipe), dtype=dtype
    )
    return model.to(device).eval()
