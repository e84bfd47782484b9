"""The whole model in memory under a recipe, for evaluation: no checkpoint is written."""

from typing import Any

import torch

from ream.core.recipe import Recipe
from ream.models.family.architecture import Architecture
from ream.models.family.modelling import model_config, set_experts
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.state_dict import text_state_dict


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
        checkpoint: the original.
        architecture: of the original.
        recipe: what becomes of the experts; None for the original itself.
        device: to put the model on.
        dtype: of the model's weights.
        trust_remote_code: let the model's own configuration code run.

    Returns:
        The text model in evaluation mode (a `PreTrainedModel`).
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.utils import logging

    config = model_config(checkpoint, architecture.family, trust_remote_code)
    if recipe is not None:
        set_experts(config, architecture.family, len(next(iter(recipe.layers.values())).groups.kept))
    typed_logging: Any = logging  # transformers leaves its functions untyped
    typed_logging.disable_progress_bar()
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    model = model_class.from_pretrained(
        None, config=config, state_dict=text_state_dict(checkpoint, architecture, recipe), dtype=dtype
    )
    return model.to(device).eval()
