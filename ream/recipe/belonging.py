"""Whether the corrections and router rows of a recipe belong to a model, by their shapes."""

from ream.core.recipe import LayerRecipe
from ream.errors import UserError
from ream.models.family.architecture import Architecture
from ream.models.family.family import RouterTensor
from ream.models.storage.checkpoint import Checkpoint


def rows_of(architecture: Architecture, checkpoint: Checkpoint, layer: int) -> RouterTensor | None:
    """The tensor with a row of H numbers for each expert; None for a router that has not exactly one."""
    matrices = [
        kind
        for kind in architecture.routers(layer)
        if not kind.numbers
        and kind.axis == 0
        and checkpoint.shape(architecture.tensor_name(layer, kind))[1:] == (architecture.hidden,)
    ]
    return matrices[0] if len(matrices) == 1 else None


def checked_rows(recipe: LayerRecipe, architecture: Architecture, checkpoint: Checkpoint, layer: int) -> RouterTensor:
    """The tensor whose rows a recipe replaces.

    Raises:
        UserError: there is none, or its rows have another length.
    """
    kind = rows_of(architecture, checkpoint, layer)
    assert recipe.router is not None
    if kind is None or recipe.router.shape[1] != architecture.hidden:
        raise UserError(
            f"recipe, layer {layer}: its router rows have {recipe.router.shape[1]} numbers, and the model's router "
            f"{'is no matrix' if kind is None else f'takes {architecture.hidden}'}; it belongs to another model"
        )
    return kind


def check_corrections(recipe: LayerRecipe, architecture: Architecture, layer: int) -> None:
    """Refuse corrections of another hidden size H or of a missing gate; `check_layer` knows the width D alone.

    Only the first position is looked at: all have the same shapes, and reading each takes time.

    Raises:
        UserError: names the shapes.
    """
    for position in list(recipe.corrections)[:1]:
        for part, tensor in recipe.corrections[position].items():
            if part not in architecture.projections:
                raise UserError(
                    f"recipe, layer {layer}: corrections are for {part}, and the model's experts have "
                    f"{' and '.join(architecture.projections)}; it belongs to another model"
                )
            width, hidden = architecture.width, architecture.expert_hidden
            given, expected = list(tensor.shape), [hidden, width] if part == "down" else [width, hidden]
            if given != expected:
                raise UserError(
                    f"recipe, layer {layer}: corrections have shape {given}, but the {part} projections {expected}; it "
                    "belongs to another model"
                )
