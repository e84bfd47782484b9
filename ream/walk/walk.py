"""Calibration tokens on their way through the layers: micro-batches, and the probe tokens among them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ream.core.statistics import probe_positions
from ream.errors import UserError
from ream.machine.memory import trim
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.loaded_layer import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.walk.read_ahead import read_ahead
from ream.walk.release import release
from ream.walk.state import WalkState
from ream.walk.transfers import Back, onto


@dataclass(frozen=True)
class Batches:
    """All sequences of a walk and how they are cut into micro-batches.

    Attributes:
        ids: [n, L] token ids, right-padded. mask: [n, L], True for real tokens.
        rows: sequences of a micro-batch.
    """

    ids: Tensor
    mask: Tensor
    rows: int

    def __iter__(self) -> Iterator[slice]:
        return (slice(start, start + self.rows) for start in range(0, len(self.ids), self.rows))

    def __len__(self) -> int:
        return -(-len(self.ids) // self.rows)

    def shard(self, number: int, shards: int) -> slice:
        """The sequences of one of ``shards`` parts of about equal size; micro-batches are not cut, so sums stay alike.

        Args:
            number: from 0. shards: at most as many as there are micro-batches.

        Raises:
            UserError: there are fewer micro-batches.
        """
        if not 0 <= number < shards <= len(self):
            raise UserError(
                f"shard {number} of {shards}: there are {len(self)} micro-batches to share out; shards count from "
                "0, and there are at most as many; lower compute.batch_tokens for more"
            )
        first, last = number * len(self) // shards, (number + 1) * len(self) // shards
        return slice(first * self.rows, min(last * self.rows, len(self.ids)))

    def part(self, rows: slice) -> "Batches":
        """The same with these sequences alone."""
        return Batches(self.ids[rows], self.mask[rows], self.rows)


def batches(ids: np.ndarray, mask: np.ndarray, batch_tokens: int) -> Batches:
    """Micro-batches of at most ``batch_tokens`` tokens, padding included, and at least one sequence."""
    return Batches(torch.from_numpy(ids), torch.from_numpy(mask), max(1, batch_tokens // ids.shape[1]))


def check_ids(ids: np.ndarray, vocabulary: int) -> None:
    """Refuse token ids beyond the model's vocabulary.

    Raises:
        UserError: naming the id.
    """
    if ids.size and int(ids.max()) >= vocabulary:
        raise UserError(
            f"calibration token {int(ids.max())} is beyond the model's vocabulary of {vocabulary}; "
            "tokenize with the model's own tokenizer"
        )


class Probes:
    """Collects the MoE inputs of the probe tokens of one layer, in the probes' random order."""

    def __init__(self, data: Batches, probes: int, seed: int, rows: slice = slice(None)) -> None:
        """Args:
        data: all sequences, which the probes are sampled from.
        probes: S. seed: of the sample.
        rows: the sequences that the walk is given, the first of which it counts as 0.
        """
        real = np.flatnonzero(data.mask.numpy().reshape(-1))
        places = real[probe_positions(len(real), probes, seed)]
        self.length = data.ids.shape[1]
        start, stop, _ = rows.indices(len(data.ids))
        here = (places >= start * self.length) & (places < stop * self.length)
        self.order = np.flatnonzero(here)  # of all probes, those of these rows
        self.places = places[here] - start * self.length
        self.inputs: Tensor | None = None

    def take(self, part: slice, x: Tensor, counted: Tensor) -> None:
        """Take the probes among the inputs [B, L, H] of a micro-batch.

        Args:
            part: rows of the micro-batch. x: its inputs.
            counted: [B, L], False where a token is none of this layer's; its probe is all zeros, and so are the
                activations of its neurons.
        """
        flat = (x * counted[..., None].to(x)).reshape(-1, x.shape[-1])
        if self.inputs is None:
            self.inputs = flat.new_empty(len(self.places), flat.shape[1])
        local = self.places - part.start * self.length
        wanted = np.flatnonzero((local >= 0) & (local < len(flat)))
        here, there = (torch.from_numpy(places).to(flat.device) for places in (wanted, local[wanted]))
        self.inputs[here] = flat[there]

    def result(self) -> Tensor:
        """[S, H] on the inputs' device, and forgets them."""
        assert self.inputs is not None
        inputs, self.inputs = self.inputs, None
        return inputs


# Index, layer, its MoE block, the hidden states [n, L, H] that enter it, the place of those that leave it (the same, or
# another), and which of the tokens [n, L] count.
MoELayer = Callable[[int, LoadedLayer, MoEBlock, Tensor, Tensor, Tensor], dict[str, Tensor]]
EMBEDDED_BYTES = 1 << 28  # hidden states that are embedded at a time, where not all are to be in memory


@dataclass(frozen=True)
class Pass:
    """The tokens of one walk: all of a run's, or one source's.

    Attributes:
        data: the tokens. state: what is done already.
        moe_layer: handles a MoE layer: part by part fills the place of the hidden states that leave it, and returns
            what to keep of the layer.
    """

    data: Batches
    state: WalkState
    moe_layer: MoELayer


def walk(decoder: Decoder, passes: Sequence[Pass], progress: Progress) -> None:
    """Take the tokens of each pass through all layers; goes on where their states stand.

    A layer's weights are read once for all passes, and a layer is committed when all have gone through it: for each
    pass as if it were alone. Those that a killed run has left further ahead wait until the others have come there.

    Args:
        decoder: of the original model.
        passes: with nothing in common.
        progress: told of every micro-batch that has gone through a layer.
    """
    architecture = decoder.architecture
    last = architecture.depth - 1
    progress.skip(sum(each.state.next_layer * len(each.data) for each in passes))
    hidden: dict[int, Tensor] = {}
    for index in range(min((each.state.next_layer for each in passes), default=architecture.depth), last + 1):
        here = {number: each for number, each in enumerate(passes) if each.state.next_layer == index}
        for number, each in here.items():
            if number not in hidden:
                hidden[number] = _embedded(decoder, each.data, each.state) if index == 0 else each.state.hidden()
        ahead = index - architecture.layers + 1
        counted = {number: each.data.mask for number, each in here.items()}
        leaving = {number: each.state.leaving(hidden[number]) for number, each in here.items()}
        if ahead > 0:
            counted = {number: followed(mask, ahead) for number, mask in counted.items()}
            entry = decoder.multi_token_entry(index)
            for number, each in here.items():
                following = each.data.ids.roll(-ahead, dims=1)
                for part in each.state.parts(each.data):
                    leaving[number][part] = entry(hidden[number][part], following[part])
                hidden[number] = leaving[number]
            del entry  # and the embedding table with it
        results: dict[int, dict[str, Tensor] | None] = dict.fromkeys(here)
        with decoder.layer(index) as layer:
            block = decoder.block(index) if index in architecture.moe_layers else None
            read_ahead(decoder.checkpoint, architecture, index + 1)  # now that nothing more of this one is to be read
            for number, each in here.items():
                if block is not None:
                    results[number] = each.moe_layer(
                        index, layer, block, hidden[number], leaving[number], counted[number]
                    )
                    continue
                with Back(decoder.device) as back:
                    for part, (x,) in onto(decoder.device, each.state.parts(each.data), hidden[number]):
                        back.put(leaving[number], part, layer(x)[0])
                        progress.update(1)
            del block
        for number, each in here.items():
            each.state.commit(index, results.pop(number), leaving[number], last=index == last)
        release(decoder.checkpoint, architecture, index + 1)
        trim()
        hidden |= leaving


def _embedded(decoder: Decoder, data: Batches, state: WalkState) -> Tensor:
    """The hidden states that enter the first layer; the embedding table is read anew for every block of them."""
    shape = (*data.ids.shape, decoder.architecture.hidden)
    if state.fits(shape, decoder.dtype):
        return decoder.embed(data.ids)
    hidden = state.entering(shape, decoder.dtype)
    rows = max(data.rows, EMBEDDED_BYTES // (hidden[0].numel() * hidden.element_size()))
    for part in state.parts(slice(start, start + rows) for start in range(0, len(hidden), rows)):
        hidden[part] = decoder.embed(data.ids[part])
    return hidden


def followed(mask: Tensor, ahead: int) -> Tensor:
    """Which real tokens have a real token ``ahead`` positions after them: those that a multi-token layer counts.

    Args:
        mask: [n, L], True for real tokens, right-padded.
        ahead: 1 for the first multi-token layer.
    """
    result = torch.zeros_like(mask)
    result[:, :-ahead] = mask[:, ahead:]
    return result
