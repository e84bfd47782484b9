"""Norms of the outputs of the experts that tokens are routed to, and of no others."""

import torch
from jaxtyping import Float
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit, expert_outputs, neuron_activations
from ream.core.pairs import RoutedPairs


def routed_norms(
    x: Float[Tensor, "T H"], pairs: RoutedPairs, experts: ExpertStack, unit: GatedUnit
) -> Float[Tensor, " P"]:
    """‖E_j(x)‖ of the routed pairs, in float64: k experts a token, where the dense pass computes all N.

    Args:
        x: inputs of the MoE layer, real tokens alone.
        pairs: of one tile, so that each expert's tokens follow each other.
        experts: weights of the N experts.
        unit: gated unit of their neurons.
    """
    norms = torch.empty(len(pairs.flat), dtype=torch.float64, device=x.device)
    precise = torch.promote_types(x.dtype, torch.float32)
    for index in range(len(experts)):
        part = slice(pairs.offsets[index], pairs.offsets[index + 1])
        if part.start == part.stop:
            continue
        expert = experts[index]
        outputs = expert_outputs(neuron_activations(x.index_select(0, pairs.token[part]), expert, unit), expert)
        norms[part] = torch.linalg.vector_norm(outputs, dim=1, dtype=precise).double()
    return norms
