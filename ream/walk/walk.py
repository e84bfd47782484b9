"""The walk: calibration tokens go through the original model one decoder layer at a time.

For each layer: read its weights, let every stream of tokens through, commit what was measured or decided together with
the hidden states that enter the next layer, free the weights. A killed walk goes on after the last committed layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ream.machine.memory import trim
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.loaded_layer import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.walk.batches import Batches, with_successor
from ream.walk.read_ahead import read_ahead
from ream.walk.release import release
from ream.walk.state import WalkState
from ream.walk.transfers import WriteBack, prefetched

EMBEDDED_BYTES = 1 << 28  # of hidden states embedded at a time, where not all fit in memory


@dataclass(frozen=True)
class LayerVisit:
    """One stream's visit to one MoE layer, as the walk hands it to a `MoELayer`.

    Attributes:
        index: index of the layer.
        layer: the decoder layer with its weights; gives the residual and the input of the MoE block.
        block: the original MoE block.
        entering: [n, L, H] hidden states that enter the layer, on the host.
        leaving: [n, L, H] hidden states that leave the layer, on the host, to be filled. It may be the same tensor as
            ``entering``: read rows before writing them.
        counted: [n, L], True for tokens that statistics count.
    """

    index: int
    layer: LoadedLayer
    block: MoEBlock
    entering: Tensor
    leaving: Tensor
    counted: Tensor


class MoELayer(Protocol):
    """What a method does in a MoE layer: measure it, or decide about it, and give the hidden states that leave it."""

    def __call__(self, visit: LayerVisit) -> dict[str, Tensor]:
        """Fill ``visit.leaving`` completely and return the tensors to keep of this layer.

        It goes through the micro-batches in order, takes each of them through ``visit.layer`` once, and tells the
        walk's progress of each.
        """
        ...


@dataclass(frozen=True)
class Pass:
    """What goes through the layers: the tokens of a whole run, or those of one source.

    Attributes:
        data: the tokens.
        state: what has been committed of this pass.
        moe_layer: handles each MoE layer.
    """

    data: Batches
    state: WalkState
    moe_layer: MoELayer


def walk(decoder: Decoder, passes: Sequence[Pass], progress: Progress) -> None:
    """Take the tokens of each pass through all layers, starting where their states stand.

    A layer's weights are read once for all passes. The layer is committed when all passes have gone through it, for
    each pass as if it were alone. A pass that a killed run has left further ahead waits for the others.

    Args:
        decoder: of the original model.
        passes: with nothing in common.
        progress: told of every micro-batch that has gone through a layer.

    Raises:
        UserError: a tensor is missing, or weights or activations hold NaN or Inf.
    """
    architecture, checkpoint = decoder.architecture, decoder.checkpoint
    progress.skip(sum(tokens.state.next_layer * len(tokens.data) for tokens in passes))
    streams = [_Stream(decoder, tokens, progress) for tokens in passes]
    first = min((stream.next_layer for stream in streams), default=architecture.depth)
    for index in range(first, architecture.depth):
        due = [stream for stream in streams if stream.next_layer == index]
        for stream in due:
            stream.enter(index)
        if index >= architecture.layers:
            _enter_multi_token(decoder, due, index)
        with decoder.layer(index) as layer:
            block = decoder.block(index) if index in architecture.moe_layers else None
            read_ahead(checkpoint, architecture, index + 1)  # nothing more of this layer is to be read
            for stream in due:
                stream.visit(index, layer, block)
            del block
        for stream in due:
            stream.commit(index)
        release(checkpoint, architecture, index + 1)
        trim()


class _Stream:
    """The hidden states of one pass, layer by layer."""

    def __init__(self, decoder: Decoder, tokens: Pass, progress: Progress) -> None:
        self.data, self.state, self._moe_layer = tokens.data, tokens.state, tokens.moe_layer
        self._decoder, self._progress = decoder, progress
        self._kept: dict[str, Tensor] | None = None  # of the current layer
        self.entering: Tensor | None = None  # hidden states [n, L, H]; None before the first layer of this walk
        self.leaving: Tensor
        self.counted: Tensor

    @property
    def next_layer(self) -> int:
        """Index of the first layer that is not committed."""
        return self.state.next_layer

    def enter(self, index: int) -> None:
        """Have the hidden states that enter a layer at hand, and room for those that leave it."""
        if self.entering is None:
            self.entering = _embedded(self._decoder, self.data, self.state) if index == 0 else self.state.hidden()
        self.leaving = self.state.leaving(self.entering)
        self.counted = self.data.mask

    def visit(self, index: int, layer: LoadedLayer, block: MoEBlock | None) -> None:
        """Take all tokens through a layer; ``block`` is None for a dense one."""
        assert self.entering is not None
        if block is not None:
            self._kept = self._moe_layer(LayerVisit(index, layer, block, self.entering, self.leaving, self.counted))
            return
        device = self._decoder.device
        with WriteBack(device) as write_back:
            for part, (hidden,) in prefetched(device, self.state.parts(self.data), self.entering):
                write_back.put(self.leaving, part, layer(hidden)[0])
                self._progress.update(1)

    def commit(self, index: int) -> None:
        """Commit a layer: what is kept of it, and the hidden states that leave it."""
        last = index == self._decoder.architecture.depth - 1
        self.state.commit(index, self._kept, self.leaving, last)
        self.entering, self._kept = self.leaving, None


def _enter_multi_token(decoder: Decoder, streams: Sequence[_Stream], index: int) -> None:
    """Turn the hidden states of each stream into the input of a multi-token layer, which also sees later tokens."""
    distance = index - decoder.architecture.layers + 1
    make_input = decoder.multi_token_entry(index)  # holds the embedding table, which goes when this returns
    for stream in streams:
        stream.counted = with_successor(stream.data.mask, distance)
        later_ids, entering = stream.data.ids.roll(-distance, dims=1), stream.entering
        assert entering is not None
        for part in stream.state.parts(stream.data):
            stream.leaving[part] = make_input(entering[part], later_ids[part])
        stream.entering = stream.leaving


def _embedded(decoder: Decoder, data: Batches, state: WalkState) -> Tensor:
    """The hidden states that enter the first layer.

    Where they do not fit in memory, they are embedded block by block, and the embedding table is read for each block.
    """
    shape = (*data.ids.shape, decoder.architecture.hidden)
    if state.fits(shape, decoder.dtype):
        return decoder.embed(data.ids)
    hidden = state.entering(shape, decoder.dtype)
    rows = max(data.rows, EMBEDDED_BYTES // (hidden[0].numel() * hidden.element_size()))
    for part in state.parts(slice(start, start + rows) for start in range(0, len(hidden), rows)):
        hidden[part] = decoder.embed(data.ids[part])
    return hidden
