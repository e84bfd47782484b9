"""Outputs of the experts that tokens are routed to, and of no others: their norms, and the layer's output."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit, expert_outputs, neuron_activations
from ream.core.pairs import RoutedPairs


def routed_outputs(
    x: Float[Tensor, "T H"],
    pairs: RoutedPairs,
    weights: Float[Tensor, " P"] | None,
    experts: ExpertStack,
    unit: GatedUnit,
    room: Float[Tensor, "P H"] | None = None,
) -> tuple[Float[Tensor, " P"], Float[Tensor, "T H"] | None]:
    """‖E_j(x)‖ of the routed pairs, in float64, and Σ g_j(x) E_j(x) over T(x), the routed part of MoE(x) (Eq. 1).

    It takes k experts a token, where the dense pass computes all N. The sum is made in float32 at least and rounded
    once, so it differs from transformers' block by the roundings of sums alone.

    Args:
        x: inputs of the MoE layer, real tokens alone.
        pairs: of one tile, so that each expert's tokens follow each other.
        weights: g_j(x) of each pair; None where only the norms are wanted.
        experts: weights of the N experts.
        unit: gated unit of their neurons.
        room: takes E_j(x) of each pair, where they are wanted again (`ream.core.known_outputs`).
    """
    norms = torch.empty(len(pairs.flat), dtype=torch.float64, device=x.device)
    combined = None if weights is None else _zeros(x)
    for part, tokens, outputs in expert_by_expert(x, pairs, experts, unit):
        if room is not None:
            room[part] = outputs
        precise = outputs.to(torch.promote_types(x.dtype, torch.float32))
        norms[part] = torch.linalg.vector_norm(precise, dim=1).double()
        if combined is not None and weights is not None:
            combined.index_add_(0, tokens, precise * weights[part, None])  # a token comes once among an expert's
    return norms, None if combined is None else combined.to(x.dtype)


def routed_sum(
    x: Float[Tensor, "T H"],
    pairs: RoutedPairs,
    weights: Float[Tensor, " P"],
    experts: ExpertStack,
    unit: GatedUnit,
    onto: Float[Tensor, "T H"] | None = None,
) -> Float[Tensor, "T H"]:
    """Σ g_j(x) E_j(x) over T(x) as `routed_outputs` gives it, without the norms.

    Args:
        x: inputs of the MoE layer.
        pairs: of one tile.
        weights: g_j(x) of each pair.
        experts: weights of the experts.
        unit: gated unit of their neurons.
        onto: in float32 at least, a part of the sum that is known, to which the rest is added in place.
    """
    combined = _zeros(x) if onto is None else onto
    for part, tokens, outputs in expert_by_expert(x, pairs, experts, unit):
        combined.index_add_(0, tokens, outputs.to(combined.dtype) * weights[part, None])
    return combined.to(x.dtype)


def expert_by_expert(
    x: Float[Tensor, "T H"], pairs: RoutedPairs, experts: ExpertStack, unit: GatedUnit
) -> Iterator[tuple[slice, Int64[Tensor, " R"], Float[Tensor, "R H"]]]:
    """Each expert's pairs, their tokens, and its outputs E_j(x) for them; experts without any pair are passed over.

    Args:
        x: inputs of the MoE layer.
        pairs: of one tile, of these experts and perhaps of later ones, which are not computed.
        experts: weights of the experts.
        unit: gated unit of their neurons.
    """
    for index in range(len(experts)):
        part = slice(pairs.offsets[index], pairs.offsets[index + 1])
        if part.start < part.stop:
            expert, tokens = experts[index], pairs.token[part]
            yield part, tokens, expert_outputs(neuron_activations(x.index_select(0, tokens), expert, unit), expert)


def _zeros(x: Float[Tensor, "T H"]) -> Float[Tensor, "T H"]:
    """The sum of no outputs, in float32 at least."""
    return torch.zeros(x.shape, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
