"""Alignment of two experts' neurons (Eq. 6): an assignment problem on normalised activations and weights."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ream.core.experts import Expert, GatedUnit, neuron_activations

TERMS = ("activations", "weights")


def neuron_features(
    expert: Expert, terms: Sequence[str], probes: Float[Tensor, "S H"] | None, unit: GatedUnit
) -> dict[str, Float[Tensor, "F D"]]:
    """L2-normalised column for each neuron and term: â over the probes, ŵ = [gate row, up row, down column].

    Args:
        expert: whose neurons.
        terms: of TERMS.
        probes: MoE inputs of the probe tokens; needed for the activations term.
        unit: of the experts' neurons.
    """
    features = {}
    for term in terms:
        if term == "activations":
            assert probes is not None
            columns = neuron_activations(probes, expert, unit)
        else:
            columns = torch.cat([expert.gate.T, expert.up.T, expert.down])
        norms = columns.double().norm(dim=0)
        features[term] = columns.double() / torch.where(norms > 0, norms, 1.0)
    return features


def cost_matrix(
    centroid: dict[str, Float[Tensor, "F D"]], member: dict[str, Float[Tensor, "F D"]]
) -> Float[Tensor, "D D"]:
    """cost[a, b] = sum over the terms of the distance of the centroid's neuron a and the member's neuron b (Eq. 6)."""
    total = None
    for term, mine in centroid.items():
        theirs = member[term]
        squares = mine.square().sum(0)[:, None] + theirs.square().sum(0)[None, :]
        distance = (squares - 2.0 * mine.T @ theirs).clamp_min(0.0).sqrt()
        total = distance if total is None else total + distance
    assert total is not None
    return total


def assignment(cost: Float[Tensor, "D D"]) -> Int64[np.ndarray, " D"]:
    """π with the least total cost: the member's neuron π[a] comes to the centroid's position a (scipy's solver)."""
    return linear_sum_assignment(cost.cpu().numpy())[1].astype(np.int64)


def align(
    centroid: Expert,
    member: Expert,
    terms: Sequence[str],
    probes: Float[Tensor, "S H"] | None,
    unit: GatedUnit,
) -> Int64[np.ndarray, " D"]:
    """The permutation of the member's neurons that brings them to the centroid's; the identity where no term is on."""
    if not terms:
        return np.arange(centroid.down.shape[1])
    mine = neuron_features(centroid, terms, probes, unit)
    return assignment(cost_matrix(mine, neuron_features(member, terms, probes, unit)))
