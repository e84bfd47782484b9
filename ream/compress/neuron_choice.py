"""The choice of neurons for one layer of a walk, for as many groups at a time as memory allows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ream.compress.refit_layer import SOLVER_BYTES
from ream.core.experts import ExpertStack
from ream.core.recipe import LayerRecipe
from ream.core.refit.neuron_choice import chosen_neurons, ridge_of
from ream.core.refit.neuron_sums import PooledTokens, neuron_sums, pooled_outputs
from ream.core.refit.output_coordinates import OutputCoordinates, output_coordinates
from ream.core.refit.sums import Total, own
from ream.models.decoder import Decoder
from ream.models.moe_block import MoEBlock
from ream.recipe.apply import CompressedLayer


@dataclass(frozen=True)
class ChoiceTokens:
    """The tokens of a layer by which neurons are chosen, on the host.

    Attributes:
        inputs: [n, L, H] inputs of the MoE block.
        fitted: [n, L], False for padding and for tokens of held-out sequences.
        parts: starts a pass over the micro-batches.
        targets: [n, L, H] of the layer's output; None without a refit.
        factors: [n, L], what a token's error is multiplied with; None: 1.
        total: of all processes that share the sequences.
    """

    inputs: Tensor
    fitted: Tensor
    parts: Callable[[], Iterable[slice]]
    targets: Tensor | None = None
    factors: Tensor | None = None
    total: Total = own


@torch.no_grad()
def choose_neurons(
    decoder: Decoder, index: int, decided: LayerRecipe, experts: ExpertStack, tokens: ChoiceTokens
) -> LayerRecipe:
    """Choose the neurons that each group of several experts keeps (`ream.core.refit.neuron_choice`).

    Args:
        decoder: of the model.
        index: of the layer.
        decided: the layer's recipe with its groups.
        experts: the original ones.
        tokens: of the layer.

    Returns:
        The recipe with the chosen neurons.
    """
    width = experts.down.shape[2]
    groups = [decided.groups.members(position) for position in range(len(decided.groups.kept))]
    several = {position: members for position, members in enumerate(groups) if len(members) > 1}
    # Routing does not depend on the neurons that are chosen: the router's rows are the groups' weighted means.
    any_neurons = replace(decided, neurons={position: np.arange(width) for position in several})
    block = decoder.block(index, CompressedLayer(decoder.checkpoint, decoder.architecture, index, any_neurons))
    coordinates = output_coordinates(block.output_map(decoder.architecture.hidden))
    pool = _Pool(block, experts, groups, decided.weights, coordinates)
    outputs = None if tokens.targets is None else coordinates.size(decoder.architecture.hidden)
    chosen: dict[int, np.ndarray] = {}
    counts: list[float] = []
    for portion in _portions(several, width, outputs or 0):
        tally = torch.zeros(len(groups), dtype=torch.float64, device=decoder.device)
        stream = _tallied(pool.stream(tokens, decoder.device), tally)
        sums = neuron_sums(stream, experts, portion, block.unit, outputs, block.input_gate, tokens.total)
        counts = counts or tokens.total(tally)[list(several)].tolist()  # of all groups, whatever the portion
        for position, group in sums.items():
            down = coordinates.down(torch.cat([experts.down[member] for member in groups[position].tolist()], dim=1))
            chosen[position] = chosen_neurons(group, down, width, ridge_of(group, counts))
    return replace(decided, neurons=chosen)


def _tallied(stream: Iterable[PooledTokens], tally: Tensor) -> Iterator[PooledTokens]:
    """The same tokens, with those that are routed to each group added to a tally [K]."""
    for tokens in stream:
        routed = torch.bincount(tokens.routing.indices.flatten(), minlength=len(tally))
        tally += routed[: len(tally)]  # what lies beyond stands for no expert
        yield tokens


@dataclass(frozen=True)
class _Pool:
    """A layer whose groups still have all neurons of their members.

    Attributes:
        block: routes the tokens as the compressed layer does.
        experts: the original ones.
        groups: the members of each group.
        weights: of each expert in its group.
        coordinates: of errors.
    """

    block: MoEBlock
    experts: ExpertStack
    groups: list[np.ndarray]
    weights: np.ndarray
    coordinates: OutputCoordinates

    def stream(self, tokens: ChoiceTokens, device: torch.device) -> Iterator[PooledTokens]:
        """The fitted tokens, micro-batch by micro-batch, with what the layer's output lacks of the target."""
        for part in tokens.parts():
            rows = tokens.fitted[part]
            if not bool(rows.any()):
                continue
            x, error = tokens.inputs[part][rows].to(device), None
            given, routing = self.block.expert_inputs(x), self.block.route(x)
            if tokens.targets is not None:
                pooled = pooled_outputs(
                    given, routing, self.experts, self.groups, self.weights, self.block.unit, self.block.input_gate
                )
                output = self.block(x[None], pooled.to(x.dtype)[None])[0]
                error = self.coordinates.errors(tokens.targets[part][rows].to(device) - output)
            if tokens.factors is not None:
                factors = tokens.factors[part][rows].to(device)[:, None]
                error = None if error is None else error * factors.to(error.dtype)
                routing = replace(routing, weights=routing.weights * factors.to(routing.weights.dtype))
            yield PooledTokens(given, routing, error)


def _portions(groups: dict[int, np.ndarray], width: int, outputs: int) -> Iterator[dict[int, np.ndarray]]:
    """The groups in portions whose sums take SOLVER_BYTES at most; at least one group each."""
    portion: dict[int, np.ndarray] = {}
    for position, members in groups.items():
        columns = [width * len(group) for group in (*portion.values(), members)]
        numbers = sum(count * (count + outputs) for count in columns)
        if portion and numbers * torch.float64.itemsize > SOLVER_BYTES:
            yield portion
            portion = {}
        portion[position] = members
    if portion:
        yield portion
