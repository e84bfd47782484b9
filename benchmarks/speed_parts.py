"""The parts of compressing one layer, each measured by calling the product's own functions, for `benchmarks.speed`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.speed_clock import Clock, Measured
from benchmarks.speed_layer import Layer
from ream.core.alignment import cost_matrix, neuron_features
from ream.core.assignments import assignment
from ream.core.experts import Expert
from ream.core.grouping import merge_weights
from ream.core.merging import merged
from ream.core.recipe import LayerRecipe
from ream.core.refit.sums import CompressedExperts, RefitTokens, error_sums, gram_product, normal_sums
from ream.core.similarity import similarity
from ream.core.statistics import LayerStatistics, blocks_of
from ream.estimate.flops import attention_flops
from ream.models.moe_block import MoEBlock
from ream.recipe.apply import CompressedLayer

PROBES, REFIT_OUTPUTS = 8192, 64


class TimedNorms(LayerStatistics):
    """Statistics that time their routed norms. Timing makes a GPU wait, so only the norms' time is used."""

    def __init__(self, clock: Clock, block: MoEBlock) -> None:
        """Args:
        clock: to time with.
        block: the MoE block whose experts are measured.
        """
        super().__init__(block.experts, block.unit)
        self.clock, self.seconds = clock, 0.0

    def _norms(self, *arguments: Any) -> torch.Tensor:
        norms: list[torch.Tensor] = []
        self.seconds += self.clock.once(lambda: norms.append(super(TimedNorms, self)._norms(*arguments)))
        return norms[0]


def attention(layer: Layer) -> Measured:
    """The decoder layer without its MoE block."""
    flops = layer.T * (2.0 * layer.parts.other.weights + attention_flops(layer.config, 0, layer.length))
    with layer.decoder.layer(0) as module:
        return layer.product(lambda: module(layer.hidden), flops, (layer.T, layer.H, 2 * layer.H), layer.more_tokens)


def statistics(layer: Layer) -> Measured:
    """All experts on all tokens, with the routed norms; also measures these alone, and the outputs of the sums."""
    T, N, H, D, k, block = layer.T, layer.N, layer.H, layer.D, layer.k, layer.block
    routing = block.route(layer.x)
    totals = LayerStatistics(block.experts, block.unit)
    flops = T * (N * (4.0 * H * D + 4.0 * D) + k * 2.0 * H * D)
    sides = (blocks_of(T, D, layer.x.device).tokens, H, D)
    scale = layer.more_tokens * layer.more_experts
    whole = layer.product(lambda: totals.update(layer.x, routing), flops, sides, scale)
    timed = TimedNorms(layer.clock, block)

    def norms() -> float:
        timed.seconds = 0.0
        timed.update(layer.x, routing)
        return timed.seconds

    sides = (max(1, T * k // N), D, H)
    routed = layer.clock.part(norms, T * k * (2.0 * H * D), sides, layer.decoder.dtype, layer.more_tokens)
    layer.measured["of these, routed norms"] = routed
    layer.measured["outputs of the sums"] = layer.clock.part(
        lambda: layer.clock.once(totals.result), 4.0 * N * H * D, (2, D, H), torch.float64, layer.more_experts
    )
    # A token selects k experts however many there are, so the norms do not grow with the number of experts.
    return replace(whole, projected=(whole.seconds - routed.seconds) * scale + routed.projected)


def similarities(layer: Layer) -> Measured:
    """Eq. 7 from the sums, on the host."""
    flops, sides = 2.0 * layer.N**2 * layer.H, (layer.N, layer.H, layer.N)

    def work() -> None:
        similarity(["gate-logits", "gated-output"], layer.sums)

    return layer.clock.part(lambda: layer.clock.once(work), flops, sides, torch.float64, layer.more_experts**2)


def grouping(layer: Layer) -> Measured:
    """Saliency, similarity and pseudo-pruning."""
    return layer.clock.moved(lambda: len(layer.groups()) * 0, layer.more_experts**2)


def alignment(layer: Layer) -> Measured:
    """Features and cost matrices of some pairs of experts; also measures their assignments."""
    H, D, pairs = layer.H, layer.D, layer.pairs
    tokens = min(PROBES, layer.T)
    probes, experts = layer.x[:tokens], layer.block.experts
    costs: list[torch.Tensor] = []

    def make_costs() -> None:
        costs.clear()
        for pair in range(pairs):
            first, second = (
                neuron_features(experts[2 * pair + place], ["activations", "weights"], probes, layer.block.unit)
                for place in range(2)
            )
            costs.append(cost_matrix(first, second))

    def assign() -> int:
        for cost in costs:
            assignment(cost)
        return 0

    def flops_of_pair(probe_tokens: int) -> float:
        return 2.0 * probe_tokens * 4 * H * D + 2.0 * (probe_tokens + 3 * H) * D**2

    flops, more_probes = pairs * flops_of_pair(tokens), flops_of_pair(PROBES) / flops_of_pair(tokens)
    more_pairs = (layer.real_experts - layer.shape.kept) / pairs
    sides = (D, tokens + 3 * H, D)
    whole = layer.clock.part(
        lambda: layer.clock.once(make_costs), flops, sides, torch.float64, more_pairs * more_probes
    )
    layer.measured["assignment"] = layer.clock.moved(assign, more_pairs)
    return whole


def merge(layer: Layer) -> Measured:
    """Merging one group of four experts, with their neurons reordered."""
    members = [layer.block.experts[position] for position in range(4)]
    orders = [None, *(torch.randperm(layer.D, device=layer.x.device) for _ in range(3))]
    more_groups = (layer.real_experts - layer.shape.kept) / 3

    def work() -> int:
        expert: Expert = merged(members, [0.25] * 4, orders)
        return int(4 * 3 * expert.down.nbytes)

    work()
    return layer.clock.moved(work, more_groups)


def refit(layer: Layer) -> Measured:
    """The passes of a refit with one sweep, for some of the outputs; without solving."""
    T, H, D, k = layer.T, layer.H, layer.D, layer.k
    routing, rows = layer.block.route(layer.x), torch.ones(T, dtype=torch.bool, device=layer.x.device)
    tokens = RefitTokens(layer.x, routing, torch.randn_like(layer.x), rows)
    experts, outputs = CompressedExperts(layer.block.experts, layer.block.unit), min(REFIT_OUTPUTS, H)
    zeros = experts.zeros(layer.N, outputs, D)

    def work() -> None:
        normal_sums(lambda: [tokens], experts)
        error_sums(lambda: [tokens], experts, slice(0, outputs))
        gram_product(lambda: [tokens], experts, zeros, zeros, slice(0, outputs))

    activations = 4.0 * H * D
    flops = T * k * (3 * activations + 2.0 * D**2 + 3 * 2.0 * outputs * D)
    return layer.product(work, flops, (max(1, T * k // layer.N), H, D), layer.more_tokens)


def propagate(layer: Layer) -> Measured:
    """The compressed block's forward; also measures how long making the block takes."""
    T, N, K, H, D, k = layer.T, layer.N, layer.K, layer.H, layer.D, layer.k
    saliency, groups = layer.groups()
    orders = {int(member): np.arange(D)[::-1].copy() for member in np.setdiff1d(np.arange(N), groups.kept)}
    recipe = LayerRecipe(groups, merge_weights(saliency, groups), saliency, orders)
    compressed: list[MoEBlock] = []

    def load() -> int:
        weights = CompressedLayer(layer.checkpoint, layer.architecture, 0, recipe)
        compressed.append(layer.decoder.block(0, weights))
        return int(layer.parts.experts.bytes)

    layer.measured["compressed block made"] = layer.clock.moved(load, layer.more_experts)
    flops = T * (k * 6.0 * H * D + 2.0 * H * K + 2.0 * layer.parts.shared.weights)
    sides = (max(1, T * k // K), H, 2 * D)
    return layer.product(lambda: compressed[0](layer.hidden), flops, sides, layer.more_tokens)


PARTS: dict[str, Callable[[Layer], Measured]] = {
    "attention": attention,
    "dense statistics": statistics,
    "similarity": similarities,
    "grouping": grouping,
    "cost matrices": alignment,
    "merge": merge,
    "refit": refit,
    "propagate": propagate,
}
# Not added up: they are contained in another part, or are extras of the method.
CONTAINED = ("of these, routed norms", "merge", "refit")
