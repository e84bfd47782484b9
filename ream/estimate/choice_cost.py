"""Arithmetic of a choice among candidates for one layer, and of the fit of its router's rows.

The formulas follow `candidates` and `router_refit` in ream/compress.
"""

import math

from ream.compress.candidates import FITTED
from ream.compress.refit_layer import outputs_at_a_time
from ream.core.refit.chosen_ridge import RIDGES
from ream.estimate.refit_cost import at_once, fit_flops, handing_flops, neuron_flops
from ream.estimate.work import Work
from ream.models.family.architecture import Architecture


def trials_flops(architecture: Architecture, work: Work) -> float:
    """Operations over the tokens of one layer for all candidates, with as many λ and sweeps as are allowed."""
    block = _block(architecture, work)
    tokens, held_out = work.pass_tokens, work.pass_tokens * (1.0 - work.fitted_share)
    fits = min(FITTED, work.candidates) if work.iterations else 0
    errors = tokens * block + 2 * held_out * block  # what each lacks before; what its weights leave as they are written
    each = errors - held_out * block + _solving(architecture, work)
    return work.candidates * each + fits * (fit_flops(architecture, work) + errors - held_out * block)


def router_flops(architecture: Architecture, work: Work) -> float:
    """Operations over the tokens of one layer for the fit of its router's rows: logits on both streams, and sums."""
    if not work.router:
        return 0.0
    hidden, experts = architecture.hidden, architecture.experts
    return work.pass_tokens * (2 * 2.0 * hidden * experts + 2.0 * hidden**2 + 2.0 * hidden * experts)


def trials_solving_flops(architecture: Architecture, work: Work) -> float:
    """Operations of one layer in float64 that do not depend on the tokens, of all candidates."""
    hidden, width, experts = architecture.expert_hidden, architecture.width, work.experts
    columns, ridges = float(experts * width), len(RIDGES) if work.ridges else 1
    if at_once(architecture, work):
        return work.candidates * ridges * (columns**3 / 3 + 2 * columns**2 * hidden)
    sweep = 2.0 * columns * width * hidden
    return work.candidates * ridges * (experts * width**3 / 3 + (work.sweeps + 1) * sweep)


def blocks_tried(work: Work) -> float:
    """How often a choice runs a layer's block, with its shared experts, beside the walk, in passes over all tokens."""
    fits = min(FITTED, work.candidates) if work.iterations else 0
    target = 1  # on the original's stream, or on the compressed one
    return target + (work.candidates + fits) * (2.0 - work.fitted_share)


def _block(architecture: Architecture, work: Work) -> float:
    """Operations of the routed part of a compressed block for one token."""
    product = 2.0 * architecture.expert_hidden * architecture.width
    active = work.experts if architecture.family.dense else architecture.top_k
    return 2.0 * architecture.hidden * work.experts + active * len(architecture.projections) * product


def _solving(architecture: Architecture, work: Work) -> float:
    """Operations over the tokens for one candidate's equations and the choice of its λ."""
    hidden, width, k = architecture.expert_hidden, architecture.width, architecture.top_k
    tokens, fitted = work.pass_tokens, work.pass_tokens * work.fitted_share
    held_out, ridges = tokens - fitted, len(RIDGES) if work.ridges else 1
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
