"""The walk: calibration tokens go through a model one decoder layer at a time.

For each layer: read the original's weights, take the tokens of every pass through (a sequential method puts compressed
experts in place of the original's), free the weights, then commit what was measured or decided, together with the
hidden states that enter the next layer. A killed walk goes on after the last committed layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from ream.machine.memory import trim
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.layers.loaded import LoadedLayer
from ream.models.moe_block import MoEBlock
from ream.models.multi_token_entry import multi_token_entry
from ream.walk.batches import Batches, with_successor
from ream.walk.padding import check_padding
from ream.walk.read_ahead import read_ahead
from ream.walk.release import release
from ream.walk.state import WalkState
from ream.walk.transfers import WriteBack, prefetched

EMBEDDED_BYTES = 1 << 28  # of hidden states embedded at a time, where not all fit in memory


@dataclass(frozen=True)
class LayerVisit:
    """One pass's visit to one MoE layer, as the walk hands it to a `LayerMethod`.

    Attributes:
        index: index of the layer.
        layer: the decoder layer with its weights, without its MoE block: gives the residual and the block's input.
        block: the original MoE block, shared experts and all.
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


class LayerMethod(Protocol):
    """What a method does in a MoE layer: measure it, or decide about it, and give the hidden states that leave it."""

    def __call__(self, visit: LayerVisit) -> dict[str, Tensor]:
        """Fill ``visit.leaving`` completely and return the tensors to keep of this layer.

        It goes through the micro-batches in order, takes each of them through ``visit.layer`` once, and tells the
        walk's progress of each. All passes share ``visit.block``: a method that frees it must be the walk's only pass.
        """
        ...


@dataclass(frozen=True)
class Pass:
    """What goes through the layers: the tokens of a whole run, or those of one source.

    Attributes:
        data: the tokens.
        state: what has been committed of this pass.
        method: what to do in each MoE layer.
    """

    data: Batches
    state: WalkState
    method: LayerMethod


def walk(decoder: Decoder, passes: Sequence[Pass], progress: Progress) -> None:
    """Take the tokens of each pass through all layers, starting where their states stand.

    A layer's weights are read once for all passes. The layer is committed when all passes have gone through it, for
    each pass as if it were alone. A pass that a killed run has left further ahead waits for the others.

    Args:
        decoder: of the original model.
        passes: each with its own tokens and state.
        progress: told of every micro-batch that has gone through a layer.

    Raises:
        UserError: a tensor is missing, or weights or activations hold NaN or Inf.
    """
    architecture, checkpoint = decoder.architecture, decoder.checkpoint
    progress.skip(sum(each.state.next_layer * len(each.data) for each in passes))
    running = [_RunningPass(decoder, each, progress) for each in passes]
    first = min((each.next_layer for each in running), default=architecture.depth)
    for index in range(first, architecture.depth):
        due = [each for each in running if each.next_layer == index]
        for each in due:
            each.enter(index)
        if index >= architecture.layers:
            _enter_multi_token(decoder, due, index)
        with decoder.layer(index) as layer:
            block = decoder.block(index) if index in architecture.moe_layers else None
            # The original layer is loaded. A sequential method reads its experts again, likely from the page cache.
            read_ahead(checkpoint, architecture, index + 1)
            for each in due:
                each.check_padding(layer)
                each.visit(index, layer, block)
            del block
        for each in due:
            each.commit(index)
        release(checkpoint, architecture, index + 1)
        trim()


class _RunningPass:
    """A pass on its way: the hidden states that enter and leave the current layer."""

    def __init__(self, decoder: Decoder, described: Pass, progress: Progress) -> None:
        self.data, self.state, self._method = described.data, described.state, described.method
        self._decoder, self._progress = decoder, progress
        self._result: dict[str, Tensor] | None = None  # what the method keeps of the current layer
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

    def check_padding(self, layer: LoadedLayer) -> None:
        """See `ream.walk.padding`; families with an entry are known to be causal."""
        if self._decoder.architecture.family.derived:
            assert self.entering is not None
            check_padding(layer, self.entering, self.data.mask)

    def visit(self, index: int, layer: LoadedLayer, block: MoEBlock | None) -> None:
        """Take all tokens through a layer; ``block`` is None for a dense one."""
        assert self.entering is not None
        if block is not None:
            self._result = self._method(LayerVisit(index, layer, block, self.entering, self.leaving, self.counted))
            return
        device = self._decoder.device
        with WriteBack(device) as write_back:
            for part, (hidden,) in prefetched(device, self.state.parts(self.data), self.entering):
                write_back.put(self.leaving, part, layer(hidden)[0])  # of a dense layer, all of its output
                self._progress.update(1)

    def commit(self, index: int) -> None:
        """Commit a layer: what is kept of it, and the hidden states that leave it."""
        last = index == self._decoder.architecture.depth - 1
        self.state.commit(index, self._result, self.leaving, last)
        self.entering, self._result = self.leaving, None


def _enter_multi_token(decoder: Decoder, passes: Sequence[_RunningPass], index: int) -> None:
    """Turn the hidden states of each pass into the input of a multi-token layer, which also sees later tokens."""
    distance = index - decoder.architecture.layers + 1
    make_input = multi_token_entry(decoder, index)  # holds the embedding table, which goes when this returns
    for each in passes:
        each.counted = with_successor(each.data.mask, distance)
        later_ids, entering = each.data.ids.roll(-distance, dims=1), each.entering
        assert entering is not None
        for part in each.state.parts(each.data):
            each.leaving[part] = make_input(entering[part], later_ids[part])
        each.entering = each.leaving


def _embedded(decoder: Decoder, data: Batches, state: WalkState) -> Tensor:
    """The hidden states that enter the first layer.

    Where they do not fit in memory, they are embedded block by block, and the embedding table is read for each block.
    """
    shape = (*data.ids.shape, *decoder.stream)
    if state.fits(shape, decoder.dtype):
        return decoder.embed(data.ids)
    hidden = state.entering(shape, decoder.dtype)
    rows = max(data.rows, EMBEDDED_BYTES // (hidden[0].numel() * hidden.element_size()))
    for part in state.parts(slice(start, start + rows) for start in range(0, len(hidden), rows)):
        hidden[part] = decoder.embed(data.ids[part])
    return hidden
