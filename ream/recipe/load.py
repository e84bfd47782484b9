"""The whole model in memory under a recipe, for evaluation: no checkpoint is written."""

from typing import Any

import torch

from ream.core.recipe import Recipe
from ream.models.family.architecture import Architecture
from ream.models.family.modelling import model_config, set_experts
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.apply import text_state_dict


def load_model(
    checkpoint: Checkpoint,
    architecture: Architecture,
    recipe: Recipe | None,
    device: torch.device,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
) -> Any:
    """A transformers causal language model with the text model's tensors that the recipe's checkpoint would have.

    Args:
        checkpoint: the original. architecture: what it is.
        recipe: None for the original itself.
        device, dtype: of the model's weights.
        trust_remote_code: let the model's own configuration code run.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.utils import logging

    config = model_config(checkpoint, architecture.family, trust_remote_code)
    if recipe is not None:
        set_experts(config, architecture.family, len(next(iter(recipe.layers.values())).groups.kept))
    logging.disable_progress_bar()
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model = model_class.from_pretrained(
        None, config=config, state_dict=text_state_dict(checkpoint, architecture, recipe), dtype=dtype
    )
    return model.to(device).eval()
