"""Arithmetic and memory of choosing neurons, of the refit and of the fit of all projections, for one layer.

The formulas follow `neuron_choice`, `refit_layer` and `fit_layer` in ream/compress.
"""

import math

from ream.compress.fit_layer import NUMBERS, PIECE, experts_at_a_time
from ream.compress.refit_layer import DIRECT, SOLVER_BYTES, TOTALS, outputs_at_a_time
from ream.compress.shuffle import steps_of
from ream.core.refit.projection_fit import ROUND
from ream.estimate.sizes import DOUBLE, SINGLE
from ream.estimate.work import Work
from ream.models.family.architecture import Architecture


def neuron_flops(architecture: Architecture) -> float:
    """Operations of one expert's neuron activations for one token."""
    rows = 2.0 * (len(architecture.projections) - 1) * architecture.expert_hidden * architecture.width
    return rows + (2.0 * architecture.hidden if architecture.family.scales_inputs else 0.0)


def handing_flops(architecture: Architecture, experts: int) -> float:
    """Operations of what a block hands its experts of one token, where that is not the hidden state itself.

    Args:
        architecture: of the model.
        experts: of the block, whose router is asked once more.
    """
    if not architecture.family.changes_inputs:
        return 0.0
    projection = 2.0 * architecture.hidden * architecture.expert_hidden if architecture.family.latent_key else 0.0
    return projection + 2.0 * architecture.hidden * experts


def refit_flops(architecture: Architecture, work: Work) -> float:
    """Operations of the refit over the tokens of one layer, with as many sweeps as are allowed."""
    if work.refit is None:
        return 0.0
    hidden, width, k, experts = architecture.expert_hidden, architecture.width, architecture.top_k, work.experts
    tokens, fitted = work.pass_tokens, work.pass_tokens * work.fitted_share
    held_out = tokens - fitted
    activations, product = neuron_flops(architecture), 2.0 * hidden * width  # of one token and expert
    router = 2.0 * architecture.hidden * experts + handing_flops(architecture, experts)
    if at_once(architecture, work):
        passes, cross = 2, k * (k - 1) / 2 * 2.0 * width**2
        solving = fitted * (k * (activations + product + 2.0 * width**2) + cross) + tokens * k * (activations + product)
    else:
        parts = math.ceil(hidden / outputs_at_a_time(experts, architecture))
        passes = 1 + parts * (work.sweeps + 2)
        sweep = fitted * k * (parts * activations + 2 * product) + held_out * k * (parts * activations + product)
        once = fitted * k * (activations + 2.0 * width**2) + fitted * k * (parts * activations + product)
        solving = once + work.sweeps * sweep + tokens * k * (parts * activations + product)
    active = experts if architecture.family.dense else k
    block = router + active * len(architecture.projections) * product
    error, written = block, 2 * block + router  # the error left of the target; the new block against the old one
    return solving + tokens * (passes * router + error + written)


def fit_flops(architecture: Architecture, work: Work) -> float:
    """Operations of the fit of all projections over the tokens of one layer, with as many passes as are allowed."""
    if not work.iterations:
        return 0.0
    hidden, width, k, experts = architecture.expert_hidden, architecture.width, architecture.top_k, work.experts
    tokens, fitted, matrices = work.pass_tokens, work.pass_tokens * work.fitted_share, len(architecture.projections)
    activations, product = neuron_flops(architecture), 2.0 * hidden * width  # of one token and expert
    forward, backward = activations + product, (matrices + 1) * product
    rounds, passes = math.ceil(work.iterations / ROUND), work.iterations
    blocks = math.ceil(experts / experts_at_a_time(hidden, width, matrices))
    pairs = tokens * k * forward * (4 + 1 + rounds)  # remaining errors, a block's share added and removed; errors
    pairs += fitted * k * (activations + 2.0 * hidden**2 + 2.0 * width**2 + passes * (forward + backward))
    router = 2.0 * architecture.hidden * experts + handing_flops(architecture, experts)
    routing = router * (tokens * (1 + blocks * (2 + 2 + rounds)) + fitted * blocks * passes)
    coordinates = experts * (2.0 * (matrices - 1) * width * hidden**2 + 2.0 * hidden * width**2)
    return pairs + routing + coordinates * (2 * passes * steps_of(fitted) + rounds)


def blocks_again(work: Work) -> int:
    """How often a refit runs a layer's block, with its shared experts, on the compressed stream beside the walk."""
    if work.refit is None:
        return 0
    return 4 if work.refit == "layer" else 3  # the target, the error, the new block, the old block


def target_flops(architecture: Architecture, work: Work) -> float:
    """Operations of the original's block of one layer, which gives the target on one of the two streams."""
    if work.refit is None:
        return 0.0
    active = architecture.experts if architecture.family.dense else architecture.top_k
    if work.refit == "layer" and work.routed:
        active = 0  # the statistics have given the outputs
    block = active * 2.0 * len(architecture.projections) * architecture.expert_hidden * architecture.width
    return work.pass_tokens * (block + 2.0 * architecture.hidden * architecture.experts)


def choice_flops(architecture: Architecture, work: Work) -> float:
    """Operations over the tokens of one layer for the sums from which all groups' neurons are chosen.

    With a target the outputs of all neurons are computed first, and the target's products with them are summed up, too.
    """
    if not work.chooses:
        return 0.0
    width, size = architecture.width, architecture.experts / work.experts
    pair = size * neuron_flops(architecture) + 2.0 * (size * width) ** 2
    tokens, router = work.pass_tokens * work.fitted_share, 2.0 * architecture.hidden * work.experts
    if work.refit is not None:
        pair += size * (neuron_flops(architecture) + 4.0 * architecture.expert_hidden * width)
        router *= 2  # the block, which adds what stands beside its experts, routes again
    return work.chooses * tokens * (architecture.top_k * pair + router + handing_flops(architecture, work.experts))


def solving_flops(architecture: Architecture, work: Work) -> float:
    """Operations of one layer in float64 that do not depend on the tokens: factors, solutions, the elimination."""
    hidden, width, experts = architecture.expert_hidden, architecture.width, work.experts
    total = 0.0
    if work.refit is not None and not work.candidates:
        columns = float(experts * width)
        if at_once(architecture, work):
            total += columns**3 / 3 + 2 * columns**2 * hidden
        else:
            total += experts * width**3 / 3 + (work.sweeps + 1) * 2.0 * columns * width * hidden
    if work.iterations:
        total += experts * 4 / 3 * (hidden**3 + width**3)  # factors and their inverses
    if work.chooses:
        neurons = architecture.experts / experts * width
        removed = neurons - width
        total += work.chooses * experts * (2 * neurons**3 + removed * 2.0 * (neurons**2 + hidden * neurons))
        if work.refit is not None:  # what the target adds to the down projections
            total += work.chooses * experts * (2 / 3 * neurons**3 + 2 * neurons**2 * hidden)
    return total


def refit_bytes(architecture: Architecture, work: Work) -> int:
    """Bytes of the solver's totals, the new down projections, and the features of a micro-batch."""
    if work.refit is None:
        return 0
    hidden, width, experts = architecture.expert_hidden, architecture.width, work.experts
    downs = experts * hidden * width
    if at_once(architecture, work):
        totals = DOUBLE * (3 * (experts * width) ** 2 + 4 * downs)
    else:
        outputs = outputs_at_a_time(experts, architecture)
        totals = DOUBLE * (2 * experts * width**2 + TOTALS * experts * width * outputs)
    features = work.batch * (2 * architecture.top_k * width * SINGLE + 4 * architecture.hidden * DOUBLE)
    chosen = 2 * DOUBLE * downs if work.candidates else 0  # the best change so far, and the one that is measured
    return totals + 2 * SINGLE * downs + features + chosen


def fit_bytes(architecture: Architecture, work: Work) -> int:
    """Bytes of what is kept of the experts fitted at a time, of all projections, and of a micro-batch."""
    if not work.iterations:
        return 0
    hidden, width, matrices = architecture.expert_hidden, architecture.width, len(architecture.projections)
    at_a_time, weights = min(work.experts, experts_at_a_time(hidden, width, matrices)), matrices * hidden * width
    kept = at_a_time * (NUMBERS * weights + 2 * (hidden**2 + width**2)) + work.experts * weights
    piece = max(work.batch, min(PIECE, math.ceil(work.pass_tokens / steps_of(work.pass_tokens))))
    features = piece * architecture.top_k * (8 * width + 3 * hidden) + piece * 4 * architecture.hidden
    return SINGLE * (kept + features) + 3 * DOUBLE * hidden**2


def choice_bytes(architecture: Architecture, work: Work) -> int:
    """Bytes of the matrices of the groups handled at a time, and of the elimination in one group."""
    if not work.chooses:
        return 0
    neurons = math.ceil(architecture.experts / work.experts) * architecture.width
    gram, downs = DOUBLE * neurons**2, DOUBLE * neurons * architecture.expert_hidden
    sums = gram + (downs if work.refit is not None else 0)
    at_a_time = min(work.experts * sums, max(sums, int(SOLVER_BYTES)))
    elimination = 3 * gram + 3 * downs
    return at_a_time + elimination + work.batch * 3 * neurons * SINGLE


def at_once(architecture: Architecture, work: Work) -> bool:
    """Whether the refit solves all experts of a layer together, without sweeps."""
    return work.experts * architecture.width <= DIRECT
