"""Whether a checkpoint has exactly the tensors, by name and shape, that transformers' modelling code has."""

import re
from collections.abc import Iterable
from typing import Any

import torch

from ream.errors import UserError
from ream.models.family.architecture import Architecture
from ream.models.family.modelling import explained, model_config
from ream.models.family.names import AGAIN, UNNEEDED, missing_tensors, surplus_tensors
from ream.models.family.needed import skeleton, text_tensors
from ream.models.storage.checkpoint import Checkpoint


def check_complete(checkpoint: Checkpoint, architecture: Architecture, trust_remote_code: bool = False) -> None:
    """Compare a checkpoint's headers with the text model that transformers builds from its config, without weights.

    Args:
        checkpoint: whose headers are used; nothing is read.
        architecture: of the checkpoint; multi-token layers that it drops are not checked.
        trust_remote_code: let the model's own code run.

    Raises:
        UserError: tensors are missing, have another shape, or are unknown to the modelling code; or transformers
            refuses a value of config.json.
    """
    config = model_config(checkpoint, architecture.family, trust_remote_code, architecture.multi_token)
    with explained(checkpoint.folder / "config.json"):
        model = skeleton(config, torch.bfloat16, trust_remote_code)
    check_against(checkpoint, architecture, model)


def check_against(checkpoint: Checkpoint, architecture: Architecture, model: Any) -> None:
    """Compare a checkpoint's headers with a model of `skeleton`; see `check_complete`."""
    family = architecture.family
    needed = {
        name: shape
        for name, shape, _ in text_tensors(
            model,
            family,
            family.numbers(checkpoint.config),
            architecture.layout,
            known=architecture.moe_layers,  # architecture_of has checked their experts
        )
    }
    optional = _optional(architecture, needed)
    missing = [name for name in needed if name not in checkpoint.logical and name not in optional]
    if missing:
        raise UserError(missing_tensors(checkpoint, family, missing))
    for name, shape in (needed | optional).items():
        if name in checkpoint.logical and checkpoint.shape(name) != shape:
            raise UserError(
                f"{checkpoint.folder}: {name} has shape {list(checkpoint.shape(name))}, but config.json makes it "
                f"{list(shape)}; {AGAIN}"
            )
    unknown = (name for name in checkpoint.logical if name not in needed and name not in optional)
    surplus = list(_surplus(unknown, architecture, model))
    if surplus:
        raise UserError(surplus_tensors(checkpoint, family, surplus, f"{type(model).__name__} has no such tensor"))


def _optional(architecture: Architecture, needed: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Name to shape of copies of the embedding and the head: of a tied head, and of multi-token layers."""
    family, extra = architecture.family, architecture.family.multi_token
    names = {family.head} - needed.keys()
    if extra is not None:
        layers = range(architecture.layers, architecture.depth)
        names |= {architecture.multi_token_name(layer, name) for layer in layers for name in extra.shared}
    return dict.fromkeys(names, needed[family.embedding])


def _surplus(names: Iterable[str], architecture: Architecture, model: Any) -> Iterable[str]:
    """Those of the names that the modelling code has no use for.

    Known and left out: routed experts and routers, what a multimodal model has beside its text, dropped multi-token
    layers, and tensors outside of the layers that transformers itself ignores.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    family, depth = architecture.family, architecture.depth
    inside = tuple(architecture.layer_prefix(layer) for layer in range(depth))
    dropped = range(depth, depth + architecture.dropped)
    left_out = tuple(architecture.layer_prefix(layer) for layer in dropped) + tuple(
        architecture.multi_token_name(layer, name)
        for layer in dropped
        for name in (family.multi_token.own if family.multi_token else ())
    )
    classes: tuple[Any, ...] = (type(model), MODEL_FOR_CAUSAL_LM_MAPPING.get(type(model.config), type(model)))
    ignored = [re.compile(pattern) for code in classes for pattern in code._keys_to_ignore_on_load_unexpected or ()]
    for name in names:
        if name in architecture.roles or name in family.outside or name.endswith(UNNEEDED):
            continue
        if name.startswith(inside):
            yield name
            continue
        if family.derived:  # with a wrapper's towers, whose names may begin like the text model's
            continue
        prefix = next((prefix for prefix in family.text_prefixes if name.startswith(prefix)), None)
        if prefix is None or name.startswith(left_out):
            continue
        theirs = family.text_prefixes[prefix] + name.removeprefix(prefix)
        if not any(pattern.search(theirs) for pattern in ignored):
            yield name
