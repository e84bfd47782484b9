"""Merging a group of experts into one by choosing among their neurons (docs/refit.md; beyond the REAM paper).

A mean of neurons is a neuron that none of the experts had. Instead, D of a group's m·D neurons stay as they are. The
others are removed one by one, each time the neuron whose loss costs least once the down projections of the remaining
ones have been refitted (Hassibi and Stork, Optimal Brain Surgeon, NIPS 1992):

    cost of neuron n = ‖W_n‖² / [A⁻¹]_nn,    then  W ← W − W_n [A⁻¹]_n / [A⁻¹]_nn

with W [H, m·D] the down projections of all these neurons side by side, A = sum of f f^T over the tokens routed to the
group, and f(x) = g'(x) h(x) the weighted activations of the group's neurons. W begins as the members' own down
projections or, where the layer's output has a target, as the one that fits it best together with all neurons of all
other groups: the members' own plus B (A + λ)⁻¹, with B = sum of e f^T and e(x) what the output lacks then. So neurons
count by what they do for the tokens that the group has, not by what they did for its members' tokens.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ream.core.experts import Expert, expert_of, parts
from ream.core.refit.neuron_sums import NeuronSums

ROWS = ("gate", "up", "gate_bias", "up_bias")  # tensors with one entry for each neuron, along the first axis
RIDGE = 0.03  # λ of the change that a target makes to W before the elimination
DAMPING = 1e-3  # fraction of A's mean diagonal that is added to it, since rarely used neurons have few tokens


def chosen_neurons(
    sums: NeuronSums, down: Float[Tensor, "H n"], keep: int, ridge: float = 0.0
) -> Int64[np.ndarray, " D"]:
    """The D neurons that elimination leaves, ascending; of neurons that cost the same the lower index goes first.

    Args:
        sums: of a group.
        down: the members' down projections side by side.
        keep: D.
        ridge: λ of what a target adds to them, as a fraction of A's mean diagonal.

    Returns:
        Indices into the members' neurons one after the other, member · D + neuron. Where no token is routed to the
        group, they are all neurons of the first member.
    """
    gram = sums.gram
    mean = gram.diagonal().mean()
    if not float(mean):
        return np.arange(keep)
    weights, identity = down.to(gram.dtype, copy=True), torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    if sums.products is not None:
        weights += torch.linalg.solve(gram + (ridge + DAMPING) * mean * identity, sums.products.T).T
    inverse = torch.linalg.inv(gram + DAMPING * mean * identity)
    removed = torch.zeros(len(gram), dtype=torch.bool, device=gram.device)
    one = torch.ones((), dtype=gram.dtype, device=gram.device)
    for _ in range(len(gram) - keep):
        diagonal = inverse.diagonal()
        costs = torch.where(removed, torch.inf, weights.square().sum(0) / diagonal)
        least = costs.argmin(dim=0, keepdim=True)  # stays on the device, so the host does not wait
        row = inverse.index_select(0, least)[0]
        pivot = row.index_select(0, least)
        weights -= torch.outer(weights.index_select(1, least)[:, 0] / pivot, row)
        inverse -= torch.outer(row / pivot, row)
        removed.index_fill_(0, least, True)
        inverse.index_put_((least, least), one)  # its row and column are zero now, so it has no part in later steps
    kept: np.ndarray = (~removed).nonzero()[:, 0].cpu().numpy()
    return kept


def ridge_of(sums: NeuronSums, counts: Sequence[float]) -> float:
    """λ of a group: RIDGE for one with as many tokens as the mean of all groups, more for one with fewer.

    So every group is drawn to its members' own down projections by the same number of tokens.

    Args:
        sums: of the group.
        counts: tokens of all groups.
    """
    used = [count for count in counts if count]
    return RIDGE * sum(used) / len(used) / sums.count if sums.count else 0.0


def assembled(members: Iterable[Expert], weights: Sequence[float], neurons: Int64[np.ndarray, " D"]) -> Expert:
    """One expert made of chosen neurons, in the order of their indices, with one member in memory at a time.

    Args:
        members: experts of the group; the result has the dtype of the first.
        weights: weight of each member, summing to 1. Tensors without an entry for each neuron (the down projection's
            bias, the input gate) are weighted means.
        neurons: as `chosen_neurons` returns them.

    Raises:
        ValueError: members and weights differ in number.
    """
    pieces: dict[str, list[Tensor]] = {}
    totals: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for index, (member, weight) in enumerate(zip(members, weights, strict=True)):
        width = member.down.shape[1]
        kept = torch.from_numpy(neurons[neurons // width == index] % width).to(member.down.device)
        for name, tensor in parts(member):
            dtype = dtypes.setdefault(name, tensor.dtype)
            if name in ROWS:
                pieces.setdefault(name, []).append(tensor[kept].to(dtype))
            elif name == "down":
                pieces.setdefault(name, []).append(tensor[:, kept].to(dtype))
            else:
                totals[name] = totals.get(name, 0.0) + tensor.float() * float(weight)
    chosen = {name: torch.cat(tensors, dim=1 if name == "down" else 0) for name, tensors in pieces.items()}
    return expert_of({**chosen, **{name: total.to(dtypes[name]) for name, total in totals.items()}})


def mean_rows(
    tensor: Tensor, axis: int, groups: Iterable[Int64[np.ndarray, " _"]], weights: Float64[np.ndarray, " N"]
) -> Tensor:
    """A router's tensor with one entry for each group, the weighted mean over its members, in the tensor's dtype.

    Args:
        tensor: has N entries along the axis, one for each expert.
        axis: axis of the experts.
        groups: the members of each group.
        weights: weight of each expert, summing to 1 over a group.
    """
    entries, expert_weights = tensor.double().movedim(axis, 0), torch.from_numpy(weights)
    rows = [torch.from_numpy(members) for members in groups]
    means = [torch.tensordot(expert_weights[members], entries[members], dims=1) for members in rows]
    return torch.stack(means).movedim(0, axis).to(tensor.dtype)
