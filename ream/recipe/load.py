"""The whole model in memory under a recipe, for evaluation: no checkpoint is written."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.models.family.architecture import Architecture, without_multi_token
from ream.models.family.complete import check_complete
from ream.models.family.modelling import model_config, set_experts
from ream.models.family.names import AGAIN
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.state_dict import text_name, text_state_dict


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
        dtype: of the model's weights; tensors of routers that decide in float32 stay so.
        trust_remote_code: let the model's own configuration code run.

    Returns:
        The text model in evaluation mode (a `PreTrainedModel`).

    Raises:
        UserError: the original lacks tensors or has others than the modelling code; see `check_complete`.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING
    from transformers.utils import logging

    check_complete(checkpoint, without_multi_token(architecture), trust_remote_code)
    config = model_config(checkpoint, architecture.family, trust_remote_code)
    if recipe is not None:
        set_experts(config, architecture.family, len(next(iter(recipe.layers.values())).groups.kept))
    typed_logging: Any = logging  # transformers leaves its functions untyped
    typed_logging.disable_progress_bar()
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    tensors = text_state_dict(checkpoint, architecture, recipe)
    model, report = model_class.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report
    )
    _check_loaded(report, f"{checkpoint.folder}: {model_class.__name__}")
    _restore_exact(model, architecture, tensors)
    del tensors  # the host needs them no more while the model moves
    return model.to(device).eval()


def _check_loaded(report: Mapping[str, Any], where: str) -> None:
    """Refuse a model with weights that transformers initialised at random or left out.

    Args:
        report: what transformers says of its loading.
        where: checkpoint and class, for the message.
    """
    shapes = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    for names, what in (
        (sorted(report["missing_keys"]), "has no tensor for"),
        (sorted(report["unexpected_keys"]), "does not know"),
        (shapes, "needs another shape of"),
    ):
        if names:
            raise UserError(f"{where} {what} {names[0]} ({len(names)} in all); {AGAIN}")


def _restore_exact(model: Any, architecture: Architecture, tensors: Mapping[str, Tensor]) -> None:
    """Put back what transformers has rounded of the router tensors that the published code keeps in float32."""
    family = architecture.family
    for index in architecture.moe_layers:
        if index >= architecture.layers:
            continue
        block = getattr(model.model.layers[index], family.block)
        for router in family.router:
            if router.exact:
                own = block.state_dict(keep_vars=True)[family.renamed.get(router.name, router.name)]
                stored = tensors[text_name(family, architecture.tensor_name(index, router))]
                own.data = stored.to(device=own.device, dtype=torch.float32)
