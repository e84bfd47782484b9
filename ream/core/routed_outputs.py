"""Outputs of the experts that tokens are routed to, and of no others: their norms, and the layer's output."""

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit, expert_outputs, neuron_activations
from ream.core.pairs import RoutedPairs


def routed_outputs(
    x: Float[Tensor, "T H"],
    pairs: RoutedPairs,
    weights: Float[Tensor, " P"] | None,
    experts: ExpertStack,
    unit: GatedUnit,
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
    """
    norms = torch.empty(len(pairs.flat), dtype=torch.float64, device=x.device)
    precise = torch.promote_types(x.dtype, torch.float32)
    combined = None if weights is None else torch.zeros(x.shape, dtype=precise, device=x.device)
    for index in range(len(experts)):
        part = slice(pairs.offsets[index], pairs.offsets[index + 1])
        if part.start == part.stop:
            continue
        expert, tokens = experts[index], pairs.token[part]
        outputs = expert_outputs(neuron_activations(x.index_select(0, tokens), expert, unit), expert).to(precise)
        norms[part] = torch.linalg.vector_norm(outputs, dim=1).double()
        if combined is not None and weights is not None:
            combined.index_add_(0, tokens, outputs * weights[part, None])  # a token comes once among an expert's
    return norms, None if combined is None else combined.to(x.dtype)
