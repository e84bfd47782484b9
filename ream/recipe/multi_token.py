"""The layers that predict further tokens (multi-token prediction): which tensors are theirs, and whether they stay."""

from ream.core.recipe import Recipe
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint


def drops_multi_token(architecture: Architecture, recipe: Recipe) -> bool:
    """Whether the model has multi-token layers and the recipe leaves them out."""
    some = architecture.multi_token + architecture.dropped > 0 or bool(architecture.family.unwalked)
    return some and max(recipe.layers) < architecture.layers


def multi_token_tensors(checkpoint: Checkpoint, architecture: Architecture) -> set[str]:
    """The names of all tensors of the multi-token layers; empty for a family without any."""
    extra = architecture.family.multi_token
    if extra is None:
        return {name for name in checkpoint.logical if name.startswith(architecture.family.unwalked)}
    layers = range(architecture.layers, architecture.depth + architecture.dropped)
    outside_layers = {architecture.multi_token_name(layer, name) for layer in layers for name in extra.own}
    prefixes = tuple(architecture.layer_prefix(layer) for layer in layers)
    return {name for name in checkpoint.logical if name in outside_layers or name.startswith(prefixes)}


def left_out_tensors(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe) -> set[str]:
    """The names of the tensors that the output lacks because the recipe leaves multi-token layers out."""
    return multi_token_tensors(checkpoint, architecture) if drops_multi_token(architecture, recipe) else set()
