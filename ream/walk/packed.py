"""Sequences of very different lengths, such as questions, through all layers of a model, with little padding.

Their tokens lie behind one another, longest sequence first, so a micro-batch has sequences of about one length and its
hidden states are one slice. Within a micro-batch shorter sequences are padded on the right, which no token of theirs
sees.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ream.machine.memory import trim
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.expert_weights import BlockWeights
from ream.models.layers.loaded import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.walk.mapped import Room
from ream.walk.read_ahead import read_ahead
from ream.walk.release import release
from ream.walk.transfers import WriteBack, prefetched


@dataclass(frozen=True)
class MicroBatch:
    """Some sequences that go through a layer at once, as B rows of L tokens.

    Attributes:
        tokens: where their tokens lie in the stream.
        padded: [B, L] index of each token among these; padding repeats the last token of its sequence.
        real: indices of the sequences' own tokens in the flattened rows, in the order of the stream.
    """

    tokens: slice
    padded: Tensor
    real: Tensor


class Packed:
    """Sequences behind one another, longest first; equally long ones keep their order.

    Attributes:
        ids: [T] token ids of all sequences.
        starts: where each sequence, by its number as given, begins in the stream.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], batch_tokens: int) -> None:
        """Args:
        sequences: token ids; each has one at least.
        batch_tokens: upper bound on the tokens of a micro-batch, padding included; it has at least one sequence.
        """
        order = sorted(range(len(sequences)), key=lambda number: -len(sequences[number]))
        self._lengths = [len(sequences[number]) for number in order]
        self._batch_tokens = batch_tokens
        self.starts = dict(zip(order, _starts(self._lengths), strict=True))
        self.ids = torch.tensor([token for number in order for token in sequences[number]], dtype=torch.long)

    def batches(self) -> Iterator[MicroBatch]:
        """The micro-batches in the order of the stream."""
        first = begin = 0
        while first < len(self._lengths):
            longest = self._lengths[first]
            lengths = torch.tensor(self._lengths[first : first + max(1, self._batch_tokens // longest)])
            starts = torch.cumsum(lengths, 0) - lengths
            place = torch.arange(longest)
            padded = starts[:, None] + torch.minimum(place, lengths[:, None] - 1)
            real = (place < lengths[:, None]).flatten().nonzero()[:, 0]
            end = begin + int(lengths.sum())
            yield MicroBatch(slice(begin, end), padded, real)
            first, begin = first + len(lengths), end

    def __len__(self) -> int:
        """The number of micro-batches."""
        return sum(1 for _ in self.batches())


def _starts(lengths: Iterable[int]) -> Iterator[int]:
    """Where each of several pieces begins that lie behind one another."""
    start = 0
    for length in lengths:
        yield start
        start += length


class Keeping(Protocol):
    """Where the hidden states of a stream are, and what is committed of its walk: a `WalkState`, or `Unsaved`."""

    next_layer: int

    def entering(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Room for the hidden states that enter the first layer."""

    def hidden(self) -> Tensor:
        """The committed hidden states that enter `next_layer`."""

    def leaving(self, hidden: Tensor) -> Tensor:
        """Room for the hidden states that leave a layer, given those that enter it."""

    def parts(self, data: Iterable[slice]) -> Iterator[slice]:
        """The slices one after the other; after each, the memory of mapped files is freed."""

    def commit(self, index: int, result: Mapping[str, Tensor] | None, hidden: Tensor | None, last: bool) -> None:
        """Commit a finished layer."""


class Unsaved:
    """The hidden states of a walk that starts anew when it is killed: in memory or, beyond that, in one mapped file."""

    next_layer = 0

    def __init__(self, folder: Path, memory: float) -> None:
        """Args:
        folder: for the mapped file.
        memory: bytes up to which hidden states are kept in memory.
        """
        self._folder, self._memory, self._room = folder, memory, Room(None)

    def entering(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Room for the hidden states."""
        fits = torch.Size(shape).numel() * dtype.itemsize <= self._memory
        self._room = Room(None if fits else self._folder)
        return self._room.empty("stream", shape, dtype)

    def hidden(self) -> Tensor:
        """Nothing is committed, so nobody asks."""
        raise NotImplementedError

    def leaving(self, hidden: Tensor) -> Tensor:
        """The same tensor: a layer's output takes the place of its input."""
        return hidden

    def parts(self, data: Iterable[slice]) -> Iterator[slice]:
        """See `Room`."""
        return self._room.parts(data)

    def commit(self, index: int, result: Mapping[str, Tensor] | None, hidden: Tensor | None, last: bool) -> None:
        """Count the layer."""
        self.next_layer = index + 1


def walk_packed(
    decoder: Decoder,
    packed: Packed,
    blocks: Mapping[int, BlockWeights] | None,
    state: Keeping,
    progress: Progress,
) -> Tensor:
    """Take sequences through all layers of a model, starting where the state stands (`walk_side_by_side`).

    Args:
        decoder: of the original; multi-token layers are left out.
        packed: the sequences.
        blocks: the experts and routers of a compressed model, by layer; None for the original.
        state: where hidden states are kept; each layer is committed.
        progress: told of every micro-batch that has gone through a layer.

    Returns:
        [T, ...] hidden states that leave the last layer, on the host, in the order of the stream.

    Raises:
        UserError: a tensor is missing, or weights or activations hold NaN or Inf.
    """
    return walk_side_by_side(decoder, packed, [(blocks, state)], progress)[0]


def walk_side_by_side(
    decoder: Decoder,
    packed: Packed,
    models: Sequence[tuple[Mapping[int, BlockWeights] | None, Keeping]],
    progress: Progress,
) -> list[Tensor]:
    """Take the same sequences through all layers of several models of one original, each layer of which is read once.

    A model goes on where its state stands, which may be behind that of others.

    Args:
        decoder: of the original; multi-token layers are left out.
        packed: the sequences.
        models: for each the experts and routers by layer, None for the original, and where its hidden states are kept.
        progress: told of every micro-batch that has gone through a layer of a model.

    Returns:
        For each model [T, ...] hidden states that leave the last layer, on the host, in the order of the stream.

    Raises:
        UserError: see `walk_packed`.
    """
    architecture = decoder.architecture
    progress.skip(sum(state.next_layer for _, state in models) * len(packed))
    streams = [_embedded(decoder, packed, state) if state.next_layer == 0 else state.hidden() for _, state in models]
    for index in range(min(state.next_layer for _, state in models), architecture.layers):
        moe = index in architecture.moe_layers
        with decoder.layer(index) as layer:
            read_ahead(decoder.checkpoint, architecture, index + 1)
            for number, (blocks, state) in enumerate(models):
                if state.next_layer > index:
                    continue
                leaving = state.leaving(streams[number])
                block = decoder.block(index, None if blocks is None else blocks[index]) if moe else None
                _through(layer, block, packed, state, streams[number], leaving, progress)
                if block is not None:
                    block.free()
                state.commit(index, None, leaving, last=False)  # what leaves the last layer goes into the head
                streams[number] = leaving
        release(decoder.checkpoint, architecture, index + 1)
        trim()
    return streams


def _embedded(decoder: Decoder, packed: Packed, state: Keeping) -> Tensor:
    """The hidden states that enter the first layer."""
    hidden, table = state.entering((len(packed.ids), *decoder.stream), decoder.dtype), decoder.table()
    batches = {batch.tokens.start: batch for batch in packed.batches()}
    for part in state.parts([batch.tokens for batch in batches.values()]):
        batch = batches[part.start]
        hidden[part] = decoder.embed(packed.ids[part][batch.padded], table).flatten(0, 1)[batch.real]
    return hidden


@torch.no_grad()
def _through(
    layer: LoadedLayer,
    block: MoEBlock | None,
    packed: Packed,
    state: Keeping,
    entering: Tensor,
    leaving: Tensor,
    progress: Progress,
) -> None:
    """Take all micro-batches through a layer with its MoE block."""
    device, batches = layer.device, list(packed.batches())
    with WriteBack(device) as write_back:
        parts = prefetched(device, state.parts(batch.tokens for batch in batches), entering)
        for batch, (part, (rows,)) in zip(batches, parts, strict=True):
            residual, x = layer(rows[batch.padded.to(device)])
            if block is not None and x is not None:
                residual = layer.leaving(residual, block(x))
            write_back.put(leaving, part, residual.flatten(0, 1)[batch.real.to(device)])
            progress.update(1)
