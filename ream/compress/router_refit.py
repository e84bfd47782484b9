"""The refit of a layer's router rows: which tensor they are, and the rows of the kept experts in a recipe."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ream.core.recipe import LayerRecipe
from ream.core.refit.neuron_choice import mean_rows
from ream.core.refit.router_rows import RouterRows
from ream.core.refit.sums import Total, own
from ream.errors import UserError
from ream.models.decoder import Decoder
from ream.models.family.block_inputs import input_width
from ream.models.moe_block import MoEBlock
from ream.recipe.belonging import rows_of

CLOSE = 1e-2  # of the logits' spread: how far they may be from W x + b, in bfloat16
CHECKED = 256  # tokens by which that is checked


def router_rows(decoder: Decoder, index: int) -> Tensor:
    """W [N, H] of a layer's router, in float32 on the host.

    Raises:
        UserError: the router is no matrix, or the rows do more than route.
    """
    architecture, checkpoint = decoder.architecture, decoder.checkpoint
    kind = rows_of(architecture, checkpoint, index)
    other = input_width(architecture.family, architecture.hidden) != architecture.hidden
    if kind is None or other or architecture.family.scales_inputs:
        raise _refused(decoder, index)
    return checkpoint.read(architecture.tensor_name(index, kind))[: architecture.experts].float()


def check_linear(decoder: Decoder, index: int, block: MoEBlock, rows: Tensor, x: Tensor) -> None:
    """Refuse a router whose logits are not W x + b.

    Args:
        decoder: of the model.
        index: of the layer.
        block: the original.
        rows: W, by `router_rows`.
        x: [T, H] inputs of the block.

    Raises:
        UserError: names the layer.
    """
    x = x[:CHECKED]
    logits = block.route(x).logits[:, : len(rows)].float()
    bias = logits - x.float() @ rows.to(x.device).T
    spread = float(logits.std()) if logits.numel() > 1 else 1.0
    if float((bias - bias.mean(0)).abs().max()) > CLOSE * max(spread, torch.finfo(torch.float32).tiny):
        raise _refused(decoder, index)


@dataclass(frozen=True)
class RouterTokens:
    """The tokens by which a router's rows are fitted, on the host.

    Attributes:
        inputs: [n, L, H] inputs of the block in the compressed model.
        logits: [n, L, N] of the original's router on its own inputs (`original_logits`).
        counted: [n, L], False for padding.
        fitted: [n], False for held-out sequences.
        parts: starts a pass over the micro-batches.
        total: of all processes that share the sequences.
    """

    inputs: Tensor
    logits: Tensor
    counted: Tensor
    fitted: Tensor
    parts: Callable[[], Iterable[slice]]
    total: Total = own


def original_logits(block: MoEBlock, x: Tensor) -> Tensor:
    """z(x) [B, L, N] of the original's experts."""
    logits: Tensor = block.route(x.reshape(-1, x.shape[-1])).logits
    return logits.reshape(*x.shape[:2], -1)[..., : len(block.experts)]


def refitted_rows(decoder: Decoder, index: int, block: MoEBlock, tokens: RouterTokens) -> Tensor | None:
    """The rows [N, H] of a layer's router, fitted to the original's logits; None where the rows stay.

    Args:
        decoder: of the model.
        index: of the layer.
        block: the original.
        tokens: of the layer.

    Raises:
        UserError: the router's logits are not W x + b.
    """
    rows, device = router_rows(decoder, index), decoder.device
    sums = RouterRows(len(rows), rows.shape[1], device)
    for number, part in enumerate(tokens.parts()):
        counted = tokens.counted[part]
        x, wanted = (tensor[part][counted].to(device) for tensor in (tokens.inputs, tokens.logits))
        if not number:
            check_linear(decoder, index, block, rows, x)
        fitted = tokens.fitted[part][:, None].expand(counted.shape)[counted].to(device)
        given = block.route(x).logits[:, : len(rows)]
        sums.add(x.float(), wanted.float() - given.float(), fitted)
    change, left = sums.change(tokens.total)
    return None if left >= 1.0 else rows + change.cpu().float()


def _refused(decoder: Decoder, index: int) -> UserError:
    return UserError(
        f"layer {index}: the router of {decoder.architecture.family.model_type} is not a matrix that is applied to its "
        "block's input and only routes, so its rows cannot be refitted; set the method's refit.router: false"
    )


def with_rows(decided: LayerRecipe, rows: Tensor, means: bool) -> LayerRecipe:
    """The recipe with refitted router rows: those of the kept experts, or means where groups keep neurons.

    Args:
        decided: the recipe.
        rows: [N, H] of all experts.
        means: whether a group's row is the weighted mean of its members'.
    """
    rows = rows.float().cpu()
    if means:
        groups = map(decided.groups.members, range(len(decided.groups.kept)))
        kept = mean_rows(rows, 0, groups, decided.weights)
    else:
        kept = rows[torch.from_numpy(decided.groups.kept)]
    return replace(decided, router=kept.numpy())
