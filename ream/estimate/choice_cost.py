"""Arithmetic of a choice among candidates for one layer, and of the fit of its router's rows.

The formulas follow `candidates` and `router_refit` in ream/compress.
"""

import math

from ream.compress.candidates import FITTED
from ream.compress.refit_layer import outputs_at_a_time
from ream.core.refit.chosen_ridge import BEGIN, RIDGES, most_tried
from ream.estimate.refit_cost import at_once, fit_flops, handing_flops, neuron_flops
from ream.estimate.work import Work
from ream.models.family.architecture import Architecture


def trials_flops(architecture: Architecture, work: Work) -> float:
    """Operations over the tokens of one layer for all candidates, with as many λ and sweeps as are allowed."""
    held_out = work.pass_tokens * (1.0 - work.fitted_share)
    entered = _block(architecture, work) * (work.pass_tokens + held_out)  # what it lacks before and as it is written
    solved = sum(entered + _solving(architecture, work, ridges) for ridges in _ridges(work))
    return solved + _fits(work) * (entered + fit_flops(architecture, work))


def router_flops(architecture: Architecture, work: Work) -> float:
    """Operations over the tokens of one layer for the fit of its router's rows: logits on both streams, and sums."""
    if not work.router:
        return 0.0
    hidden, experts = architecture.hidden, architecture.experts
    return work.pass_tokens * (2 * 2.0 * hidden * experts + 2.0 * hidden**2 + 2.0 * hidden * experts)


def trials_solving_flops(architecture: Architecture, work: Work) -> float:
    """Operations of one layer in float64 that do not depend on the tokens, of all candidates."""
    hidden, width, experts = architecture.expert_hidden, architecture.width, work.experts
    columns, solutions = float(experts * width), sum(_ridges(work))
    if at_once(architecture, work):
        return solutions * (columns**3 / 3 + 2 * columns**2 * hidden)
    sweep = 2.0 * columns * width * hidden
    return solutions * (experts * width**3 / 3 + (work.sweeps + 1) * sweep)


def blocks_tried(work: Work) -> float:
    """How often a choice runs a layer's block, with its shared experts, beside the walk, in passes over all tokens."""
    target = 1  # on the original's stream, or on the compressed one
    return target + (len(_ridges(work)) + _fits(work)) * (2.0 - work.fitted_share)


def _fits(work: Work) -> int:
    """The number of candidates that are fitted further."""
    return min(FITTED, work.candidates) if work.iterations else 0


def _ridges(work: Work) -> list[int]:
    """How many λ each refit tries at most: of the first candidate, of the others, and of those that get their own."""
    others = work.candidates - 1
    if not work.ridges:
        return [1] * work.candidates
    return [most_tried(BEGIN), *[1] * others, *[len(RIDGES)] * min(FITTED if work.iterations else 1, others)]


def _block(architecture: Architecture, work: Work) -> float:
    """Operations of the routed part of a compressed block for one token."""
    product = 2.0 * architecture.expert_hidden * architecture.width
    active = work.experts if architecture.family.dense else architecture.top_k
    return 2.0 * architecture.hidden * work.experts + active * len(architecture.projections) * product


def _solving(architecture: Architecture, work: Work, ridges: int) -> float:
    """Operations over the tokens for one candidate's equations and their solutions with so many λ."""
    hidden, width, k = architecture.expert_hidden, architecture.width, architecture.top_k
    tokens, fitted = work.pass_tokens, work.pass_tokens * work.fitted_share
    held_out = tokens - fitted
    activations, product = neuron_flops(architecture), 2.0 * hidden * width  # of one token and expert
    router = 2.0 * architecture.hidden * work.experts + handing_flops(architecture, work.experts)
    scores = (ridges + 1) * held_out * (router + k * (activations + product)) if work.ridges else 0.0
    if at_once(architecture, work):
        cross = k * (k - 1) / 2 * 2.0 * width**2
        return scores + tokens * router + fitted * (k * (activations + product + 2.0 * width**2) + cross)
    parts = math.ceil(hidden / outputs_at_a_time(work.experts, architecture))
    once = tokens * router + fitted * k * (activations + 2.0 * width**2)
    begin = parts * (tokens * router + fitted * k * activations) + fitted * k * product
    again = tokens * k * (parts * activations + product)  # what the λ before has left
    sweep = parts * tokens * router + fitted * k * (parts * activations + 2 * product)
    sweep += held_out * k * (parts * activations + product)
    return scores + once + ridges * (begin + work.sweeps * sweep) + (ridges - 1) * again
