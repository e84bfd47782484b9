"""Alignment of two experts' neurons (Eq. 6): an assignment problem on normalised activations and weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ream.core.assignments import Assignments, assignment, solved
from ream.core.experts import Expert, GatedUnit, neuron_activations

TERMS = ("activations", "weights")
# Compute capabilities of the cards whose float64 is half as fast as their float32 (P100, V100, A100, H100 and H200,
# B200); of all others it is 1/32 or 1/64.
FULL_DOUBLE = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}


@dataclass(frozen=True)
class Features:
    """Of an expert's neurons, for one term.

    Attributes:
        columns: normalised, one for each neuron; all zeros of a neuron that does nothing.
        squares: of the columns' lengths.
    """

    columns: Float[Tensor, "F D"]
    squares: Float[Tensor, " D"]


def cost_dtype(device: torch.device) -> torch.dtype:
    """In which cost matrices are made: float64, float32 on cards that have next to no float64.

    A distance of d then has an error of about 1e-7 / d, at most 1e-3 (of equal neurons); products must be in full
    float32, not TF32, as torch has them unless told otherwise.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) not in FULL_DOUBLE:
        return torch.float32
    return torch.float64


def neuron_features(
    expert: Expert,
    terms: Sequence[str],
    probes: Float[Tensor, "S H"] | None,
    unit: GatedUnit,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Features]:
    """L2-normalised column for each neuron and term: â over the probes, ŵ = [gate row, up row, down column].

    Args:
        expert: whose neurons.
        terms: of TERMS.
        probes: MoE inputs of the probe tokens; needed for the activations term.
        unit: of the experts' neurons.
        dtype: of the columns; their lengths are summed in float64.
    """
    features = {}
    for term in terms:
        if term == "activations":
            assert probes is not None
            columns = neuron_activations(probes, expert, unit)
        else:
            columns = torch.cat([expert.gate.T, expert.up.T, expert.down])
        columns = columns.to(dtype)  # made above: nobody else's
        norms = torch.linalg.vector_norm(columns, dim=0, dtype=torch.float64)
        columns /= torch.where(norms > 0, norms, 1.0).to(dtype)
        features[term] = Features(columns, columns.square().sum(0))
    return features


def cost_matrix(centroid: Mapping[str, Features], member: Mapping[str, Features]) -> Float[Tensor, "D D"]:
    """cost[a, b] = sum over the terms of the distance of the centroid's neuron a and the member's neuron b (Eq. 6)."""
    total = None
    for term, mine in centroid.items():
        theirs = member[term]
        squares = mine.squares[:, None] + theirs.squares[None, :]
        distance = torch.addmm(squares, mine.columns.T, theirs.columns, alpha=-2.0).clamp_min_(0.0).sqrt_()
        total = distance if total is None else total.add_(distance)
    assert total is not None
    return total


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


def align_groups(
    groups: Mapping[int, Sequence[int]],
    expert: Callable[[int], Expert],
    terms: Sequence[str],
    probes: Float[Tensor, "S H"] | None,
    unit: GatedUnit,
    threads: int = 0,
) -> dict[int, Int64[np.ndarray, " D"]]:
    """The permutations of all members of all groups, each as `align` gives it.

    The centroid's features are made once for a group. While threads solve the assignments of earlier members, the
    device makes the cost matrices of later ones, in `cost_dtype`.

    Args:
        groups: each centroid's members, without itself.
        expert: gives an expert's weights, on the device; a centroid and one member are held at a time.
        terms: of TERMS. probes: as for `neuron_features`. unit: of the experts' neurons.
        threads: that solve assignments; 0: the caller's own.
    """
    found = {}
    with Assignments(threads) as solver:
        for centroid, members in groups.items():
            if not members:
                continue
            first = expert(centroid)
            if not terms:
                found |= {member: solved(np.arange(first.down.shape[1])) for member in members}
                continue
            dtype = cost_dtype(first.down.device)
            mine = neuron_features(first, terms, probes, unit, dtype)
            for member in members:
                cost = cost_matrix(mine, neuron_features(expert(member), terms, probes, unit, dtype))
                found[member] = solver.submit(cost)
        return {member: future.result() for member, future in found.items()}
