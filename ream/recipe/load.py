"""The whole model in memory under a recipe, for evaluation: no checkpoint is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.models.family.architecture import Architecture, without_multi_token
from ream.models.family.complete import check_complete
from ream.models.family.language_model import language_model, loads_whole, part_start
from ream.models.family.modelling import explained, set_experts, text_part
from ream.models.family.names import AGAIN
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.state_dict import text_name, text_state_dict


@dataclass(frozen=True)
class Spread:
    """A model's layers over all devices that there are: the GPUs, then the host's memory, then files.

    Attributes:
        folder: of the files; it has to stay while the model is used.
        most: bytes for each device, as accelerate's ``max_memory``; None for what is free.
    """

    folder: Path
    most: Mapping[int | str, int] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """What transformers is told."""
        return {
            "device_map": "auto",
            "offload_folder": str(self.folder),
            "max_memory": None if self.most is None else dict(self.most),
        }


def load_model(
    checkpoint: Checkpoint,
    architecture: Architecture,
    recipe: Recipe | None,
    device: torch.device,
    dtype: torch.dtype,
    trust_remote_code: bool = False,
    spread: Spread | None = None,
) -> Any:
    """A transformers causal language model with the tensors that the recipe's checkpoint would have.

    Args:
        checkpoint: the original.
        architecture: of the original.
        recipe: what becomes of the experts; None for the original itself.
        device: to put the model on.
        dtype: of the model's weights; tensors of routers that decide in float32 stay so.
        trust_remote_code: let the model's own configuration code run.
        spread: where its layers go that do not fit one device; then ``device`` says nothing.

    Returns:
        The text model in evaluation mode (a `PreTrainedModel`); of a derived wrapper the whole model, for transformers
        may have no language model of its text part alone.

    Raises:
        UserError: the original lacks tensors or has others than the modelling code, see `check_complete`; transformers
            has no language model for it; or it cannot be spread.
    """
    from transformers.utils import logging

    check_complete(checkpoint, without_multi_token(architecture), trust_remote_code)
    model_class, config, tensors = _language_model(checkpoint, architecture, recipe, trust_remote_code)
    typed_logging: Any = logging  # transformers leaves its functions untyped
    typed_logging.disable_progress_bar()
    model, report = model_class.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report
        **(spread.options if spread is not None else {}),
    )
    _check_loaded(report, f"{checkpoint.folder}: {model_class.__name__}")
    _restore_exact(model, architecture, tensors)
    del tensors  # the host needs them no more while the model moves
    return (model if spread is not None else model.to(device)).eval()


def weightless_model(
    checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe | None, trust_remote_code: bool = False
) -> Any:
    """The model of `load_model` without its weights, on torch's meta device: its configuration and its parameters.

    Raises:
        UserError: transformers has no language model for it, or refuses its config.json.
    """
    model_class, config = _class_and_config(checkpoint, architecture, recipe, trust_remote_code)
    with explained(checkpoint.folder / "config.json"), torch.device("meta"):
        return model_class._from_config(config).eval()


def _language_model(
    checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe | None, trust_remote_code: bool
) -> tuple[Any, Any, Mapping[str, Tensor]]:
    """The class that transformers loads, its configuration, and its tensors by names that it knows."""
    model_class, config = _class_and_config(checkpoint, architecture, recipe, trust_remote_code)
    tensors = text_state_dict(checkpoint, architecture, recipe, loads_whole(architecture.family))
    if start := part_start(checkpoint, architecture.family, trust_remote_code):
        tensors = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    return model_class, config, tensors


def _class_and_config(
    checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe | None, trust_remote_code: bool
) -> tuple[Any, Any]:
    """The class that transformers loads, and its configuration, with the recipe's number of experts."""
    family = architecture.family
    model_class, config = language_model(checkpoint, family, trust_remote_code)
    if recipe is not None:
        own = (family.text or "").rpartition(".")[2]  # of the part of the model that is loaded
        numbers = text_part(config, own) if loads_whole(family) and own else config
        set_experts(numbers, family, len(next(iter(recipe.layers.values())).groups.kept))
    return model_class, config


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
    whole = family.derived and family.text is not None
    text = family.text.rpartition(".")[2] if whole and family.text else None
    layers = _text_model(model, getattr(model.config, text)).layers if text else model.model.layers
    for index in architecture.moe_layers:
        if index >= architecture.layers:
            continue
        block = layers[index].get_submodule(family.block)
        for router in architecture.routers(index):
            if router.exact:
                own = block.state_dict(keep_vars=True)[family.renamed.get(router.name, router.name)]
                if own.is_meta:
                    raise UserError(
                        "this model's routers decide in float32, which evaluation.device_map: auto cannot keep beyond "
                        "the GPUs; use more GPUs, or evaluation.backend: layers"
                    )
                name = architecture.tensor_name(index, router)
                stored = _stored(tensors, name if whole else text_name(family, name))
                own.data = stored.to(device=own.device, dtype=torch.float32)


def _stored(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """The tensor of that name on disk, of which a part of a model keeps the end."""
    while name not in tensors:
        name = name.partition(".")[2]
    return tensors[name]


def _text_model(model: Any, config: Any) -> Any:
    """The text model within a wrapper."""
    from ream.models.family.derived.weightless import text_class

    kind = text_class(config)
    return next(module for module in model.modules() if type(module) is kind)
