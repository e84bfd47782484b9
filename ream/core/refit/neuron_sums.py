"""Sums over a layer's tokens by which the neurons of its groups are chosen (`ream.core.refit.neuron_choice`)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit, expert_outputs, neuron_activations
from ream.core.pairs import routed_rows
from ream.core.refit.sums import Total, own, product_dtype
from ream.core.routing import Routing


@dataclass(frozen=True)
class PooledTokens:
    """Tokens of a layer and what they lack while every group still has all neurons of its members.

    Attributes:
        x: inputs of the experts.
        routing: by a router with one row for each of the K groups.
        error: target minus the layer's output with all neurons; None without a target.
    """

    x: Float[Tensor, "T H"]
    routing: Routing
    error: Float[Tensor, "T E"] | None = None


@dataclass(frozen=True)
class NeuronSums:
    """Sums over the tokens routed to a group of m experts, n = m·D neurons.

    Attributes:
        gram: A, the sum of f f^T.
        products: B, the sum of error(x) f^T; None without a target.
        count: number of these tokens.
    """

    gram: Float64[Tensor, "n n"]
    products: Float64[Tensor, "E n"] | None
    count: float


def neuron_sums(
    stream: Iterable[PooledTokens],
    experts: ExpertStack,
    groups: Mapping[int, Int64[np.ndarray, " _"]],
    unit: GatedUnit,
    outputs: int | None = None,
    input_gates: Float[Tensor, "K H"] | None = None,
    total: Total = own,
) -> dict[int, NeuronSums]:
    """The sums of each group, with its members' neurons one after the other.

    Args:
        stream: the tokens.
        experts: the original's N experts.
        groups: the members of each group, by its position among the K; groups may be missing.
        unit: gated unit of the neurons.
        outputs: E, the size of an error; None without a target.
        input_gates: that router's rows, where they scale the experts' inputs.
        total: of all processes that share the tokens.
    """
    width, device = experts.down.shape[2], experts.down.device

    def zeros(*shape: int) -> Tensor:
        """A float64 total."""
        return torch.zeros(shape, dtype=torch.float64, device=device)

    sizes = {position: len(members) * width for position, members in groups.items()}
    grams = {position: zeros(size, size) for position, size in sizes.items()}
    products = {position: zeros(outputs, size) for position, size in sizes.items() if outputs is not None}
    counts = {position: zeros() for position in groups}
    for tokens in stream:
        routing = tokens.routing
        for position, rows, slots in routed_rows(routing.indices, routing.logits.shape[1]):
            if position not in groups:
                continue
            gate = None if input_gates is None else input_gates[position]
            hidden = [
                neuron_activations(tokens.x[rows], replace(experts[member], input_gate=gate), unit)
                for member in groups[position].tolist()
            ]
            features = torch.cat(hidden, dim=1)
            features = features.to(product_dtype(features.dtype))
            features = features * routing.weights[rows, slots].to(features.dtype)[:, None]
            grams[position] += features.T @ features
            counts[position] += len(rows)
            if tokens.error is not None:
                products[position] += tokens.error[rows].to(features.dtype).T @ features
    return {
        position: NeuronSums(
            total(gram),
            total(products[position]) if position in products else None,
            float(total(counts[position])),
        )
        for position, gram in grams.items()
    }


def pooled_outputs(
    x: Float[Tensor, "T H"],
    routing: Routing,
    experts: ExpertStack,
    groups: Sequence[Int64[np.ndarray, " _"]],
    weights: Float64[np.ndarray, " N"],
    unit: GatedUnit,
    input_gates: Float[Tensor, "K H"] | None = None,
) -> Float[Tensor, "T E"]:
    """What K groups give together while each still has all neurons of its members, in float32 at least.

    Args:
        x: inputs of the experts.
        routing: by a router with one row for each group.
        experts: the original's N experts.
        groups: the members of each group.
        weights: weight of each expert, summing to 1 over a group: of its down bias, where it has one.
        unit: gated unit of the neurons.
        input_gates: that router's rows, where they scale the experts' inputs.
    """
    dtype = product_dtype(experts.down.dtype)
    given = torch.zeros(len(x), experts.down.shape[1], dtype=dtype, device=x.device)
    for position, rows, slots in routed_rows(routing.indices, len(groups)):
        gate = None if input_gates is None else input_gates[position]
        pooled = torch.zeros(len(rows), given.shape[1], dtype=dtype, device=x.device)
        for member in groups[position].tolist():
            expert = replace(experts[member], input_gate=gate)
            bias, expert = expert.down_bias, replace(expert, down_bias=None)
            pooled += expert_outputs(neuron_activations(x[rows], expert, unit), expert)
            if bias is not None:
                pooled += float(weights[member]) * bias
        given.index_add_(0, rows, pooled * routing.weights[rows, slots].to(dtype)[:, None])
    return given
