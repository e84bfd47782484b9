"""Alignment of two experts' neurons (Eq. 6): an assignment problem on their normalised activations and weights."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ream.core.assignments import Assignments, assignment, solved
from ream.core.composition import AlignmentTerm
from ream.core.experts import Expert, GatedUnit, OverwritingUnit, Rooms, pre_activations, scaled_inputs
from ream.core.projection import projected_neurons

TERMS: tuple[AlignmentTerm, ...] = ("activations", "weights", "weights-pca")
# Compute capabilities of the GPUs whose float64 is half as fast as their float32 (P100, V100, A100, H100 and H200,
# B200). On all others it is 1/32 or 1/64 as fast.
FULL_DOUBLE = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}


@dataclass(frozen=True)
class Features:
    """One term's features of an expert's neurons.

    Attributes:
        columns: a normalised column for each neuron, of F probes, weights or principal components of weights; all zeros
            for a dead neuron. A neuron's numbers lie side by side in memory.
        squares: squared length of each column.
    """

    columns: Float[Tensor, "F D"]
    squares: Float[Tensor, " D"]


def cost_dtype(device: torch.device) -> torch.dtype:
    """The dtype of cost matrices: float64, or float32 on GPUs that have next to no float64.

    In float32 a distance of d has an error of about 1e-7 / d, at most 1e-3 (for equal neurons). Products must be in
    full float32 (torch's default), not TF32.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) not in FULL_DOUBLE:
        return torch.float32
    return torch.float64


def neuron_features(
    expert: Expert,
    terms: Sequence[AlignmentTerm],
    probes: Float[Tensor, "S H"] | None,
    unit: GatedUnit,
    dtype: torch.dtype = torch.float64,
    projected: Float[Tensor, "D Q"] | None = None,
    rooms: Rooms | None = None,
) -> dict[str, Features]:
    """L2-normalised columns by term: â over the probes, ŵ = [gate row, up row, down column], without a missing gate.

    The term ``weights-pca`` has the principal components of ŵ over all experts of the layer instead of ŵ.

    Args:
        expert: the expert whose neurons are described.
        terms: names from TERMS.
        probes: MoE inputs of the probe tokens; only the activations term needs them.
        unit: gated unit of the neurons.
        dtype: dtype of the columns; their lengths are summed in float64.
        projected: this expert's part of `projected_neurons`; only the weights-pca term needs it.
        rooms: take the columns, which are then valid until the next call with the same rooms; None for new memory.
    """
    features: dict[str, Features] = {}
    rooms = Rooms() if rooms is None else rooms
    for term in terms:
        if term == "activations":
            assert probes is not None
            parts = [_activations(probes, expert, unit).T]
        elif term == "weights":
            parts = [*([] if expert.gate is None else [expert.gate]), expert.up, expert.down.T]
        else:
            assert projected is not None
            parts = [projected]
        shape = len(parts[0]), sum(part.shape[1] for part in parts)
        rows = rooms.room(term, dtype, expert.down.device, *shape)
        for place, part in zip(rows.split([part.shape[1] for part in parts], dim=1), parts, strict=True):
            place.copy_(part)
        norms = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64)
        rows /= torch.where(norms > 0, norms, 1.0).to(dtype)[:, None]
        features[term] = Features(rows.T, torch.linalg.vector_norm(rows, dim=1).square())
    return features


def _activations(probes: Float[Tensor, "S H"], expert: Expert, unit: GatedUnit) -> Float[Tensor, "S D"]:
    """`neuron_activations`, in less memory where the unit can overwrite its arguments."""
    arguments = pre_activations(scaled_inputs(probes, expert), expert)
    return unit.overwrite(*arguments) if isinstance(unit, OverwritingUnit) else unit(*arguments)


def cost_matrix(centroid: Mapping[str, Features], member: Mapping[str, Features]) -> Float[Tensor, "D D"]:
    """cost[a, b] = sum over terms of the distance between the centroid's neuron a and the member's neuron b (Eq. 6)."""
    total = None
    for term, centroid_features in centroid.items():
        member_features = member[term]
        squares = centroid_features.squares[:, None] + member_features.squares[None, :]
        squared = torch.addmm(squares, centroid_features.columns.T, member_features.columns, alpha=-2.0)
        distance = squared.clamp_min_(0.0).sqrt_()
        total = distance if total is None else total.add_(distance)
    assert total is not None
    return total


def align(
    centroid: Expert,
    member: Expert,
    terms: Sequence[AlignmentTerm],
    probes: Float[Tensor, "S H"] | None,
    unit: GatedUnit,
) -> Int64[np.ndarray, " D"]:
    """The permutation that brings the member's neurons to the centroid's; the identity for no terms.

    Args:
        centroid: the expert whose neurons stay where they are.
        member: the expert whose neurons are reordered.
        terms: names from TERMS; empty for no alignment.
        probes: MoE inputs of the probe tokens; only the activations term needs them.
        unit: gated unit of the neurons.
    """
    if not terms:
        return np.arange(centroid.down.shape[1])
    centroid_features = neuron_features(centroid, terms, probes, unit)
    return assignment(cost_matrix(centroid_features, neuron_features(member, terms, probes, unit)))


def align_groups(
    groups: Mapping[int, Sequence[int]],
    expert: Callable[[int], Expert],
    terms: Sequence[AlignmentTerm],
    probes: Float[Tensor, "S H"] | None,
    unit: GatedUnit,
    threads: int = 0,
    experts: int = 0,
) -> dict[int, Int64[np.ndarray, " D"]]:
    """The permutation of every member of every group, as `align` gives it.

    A centroid's features are computed once for its group. While threads solve the assignments of earlier members, the
    device computes the cost matrices of later ones, in `cost_dtype`.

    Args:
        groups: each centroid's members, without the centroid.
        expert: loads an expert's weights to the device; one centroid and one member are held at a time.
        terms: names from TERMS; empty for no alignment.
        probes: MoE inputs of the probe tokens; only the activations term needs them.
        unit: gated unit of the neurons.
        threads: number of threads that solve assignments; 0 solves them in the caller's thread.
        experts: N, of the layer; only the weights-pca term needs it, and loads all of them first, one by one.

    Returns:
        The permutation of each member, by its expert index, in the order of the groups.
    """
    permutations: dict[int, Future[np.ndarray]] = {}
    projected: Mapping[int, Tensor] = {}
    if "weights-pca" in terms and any(groups.values()):
        projected = dict(enumerate(projected_neurons(experts, expert)))
    own, theirs = Rooms(), Rooms()  # fresh memory for every member costs as much as what is written into it
    with Assignments(threads) as solver:
        for centroid, members in groups.items():
            if not members:
                continue
            weights = expert(centroid)
            if not terms:
                permutations |= {member: solved(np.arange(weights.down.shape[1])) for member in members}
                continue
            dtype = cost_dtype(weights.down.device)
            features = neuron_features(weights, terms, probes, unit, dtype, projected.get(centroid), own)
            for member in members:
                others = neuron_features(expert(member), terms, probes, unit, dtype, projected.get(member), theirs)
                cost = cost_matrix(features, others)
                permutations[member] = solver.submit(cost)
        return {member: future.result() for member, future in permutations.items()}
