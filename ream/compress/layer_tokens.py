"""The tokens of one layer that a refit goes through, pass after pass: on the host, or in mapped files."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ream.compress.held_out import HeldOutSequences
from ream.compress.shuffle import Shuffle
from ream.core.refit.output_coordinates import OutputCoordinates
from ream.core.refit.sums import RefitTokens, Total, own
from ream.models.moe_block import MoEBlock


@dataclass(frozen=True)
class LayerTokens:
    """The tokens of a layer, on the host.

    Attributes:
        inputs: [n, L, H] inputs of the MoE block.
        errors: [n, L, H], target minus the compressed layer's output.
        counted: [n, L], False for padding.
        parts: starts a pass over the micro-batches.
        told: called when a pass over shuffled tokens begins.
        room: gives an uninitialised tensor [n, L, E] of a name, a dtype and a size E.
        held_out: the held-out sequences.
        total: of all processes that share the sequences.
        factors: [n, L], what each token's error is multiplied with before it is squared; None: 1.
    """

    inputs: Tensor
    errors: Tensor
    counted: Tensor
    parts: Callable[[], Iterable[slice]]
    told: Callable[[], None]
    room: Callable[[str, torch.dtype, int], Tensor]
    held_out: HeldOutSequences
    total: Total = own
    factors: Tensor | None = None

    def stream(self, block: MoEBlock, device: torch.device, coordinates: OutputCoordinates) -> Iterator[RefitTokens]:
        """A pass over the tokens.

        Args:
            block: routes the tokens.
            device: to put them on.
            coordinates: of the errors.

        Yields:
            What experts are given of the tokens of a micro-batch; those of held-out sequences are marked as not fitted.
        """
        for _, tokens in self.by_part(block, device, coordinates):
            yield tokens

    def by_part(
        self, block: MoEBlock, device: torch.device, coordinates: OutputCoordinates
    ) -> Iterator[tuple[slice, RefitTokens]]:
        """A pass over the tokens, and the rows that they come from; see `stream`."""
        for part, rows in self._rows(None):
            yield part, self._tokens(_of_part(part, rows), self._fitted(part, rows), block, device, coordinates)

    def shuffle(self) -> Shuffle:
        """The shuffles of the fitted tokens of all processes."""
        fitted = float(self.total((self.counted & ~self.held_out.held[:, None]).sum().double()))
        return Shuffle(self.held_out.fitted(), self.counted, self.held_out.first, fitted)

    def at(self, places: Tensor, block: MoEBlock, device: torch.device, coordinates: OutputCoordinates) -> RefitTokens:
        """What experts are given of some fitted tokens.

        Args:
            places: of the tokens in [n · L].
            block: routes them.
            device: to put them on.
            coordinates: of the errors.
        """
        return self._tokens(_at(places), torch.ones(len(places), dtype=torch.bool), block, device, coordinates)

    def held_out_stream(
        self, block: MoEBlock, device: torch.device, coordinates: OutputCoordinates
    ) -> Iterator[tuple[RefitTokens, Tensor]]:
        """A pass over the held-out tokens alone, and the source of each."""
        for part, rows in self._rows(self.held_out.held):
            source = self.held_out.source[part][:, None].expand(rows.shape)[rows].to(device)
            fitted = self._fitted(part, rows)
            yield self._tokens(_of_part(part, rows), fitted, block, device, coordinates), source

    def batches(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """A pass over the tokens: the block's inputs [T, H], errors [T, H], and True for tokens that are fitted."""
        for part, rows in self._rows(None):
            x, error = (tensor[part][rows].to(device) for tensor in (self.inputs, self.errors))
            yield x, error, self._fitted(part, rows).to(device)

    def squares(self, left: Callable[[slice, Tensor], Tensor], held_out: bool) -> Tensor:
        """Squared errors by source, times ``factors``², [S] on the host, of all processes.

        Args:
            left: the errors [T, H] of the tokens of some rows, which a mask [b, L] marks.
            held_out: of the held-out tokens; else of the others.
        """
        sums = torch.zeros(self.held_out.sources, dtype=torch.float64)
        for part, rows in self._rows(self.held_out.held if held_out else ~self.held_out.held):
            squares = left(part, rows).double().square().sum(1).cpu()
            if self.factors is not None:
                squares *= self.factors[part][rows].double().square()
            sums.index_add_(0, self.held_out.source[part][:, None].expand(rows.shape)[rows], squares)
        return self.total(sums)

    def _rows(self, sequences: Tensor | None) -> Iterator[tuple[slice, Tensor]]:
        """The micro-batches with counted tokens of some sequences [n], all for None; and the mask of these tokens."""
        for part in self.parts():
            rows = self.counted[part]
            if sequences is not None:
                rows = rows & sequences[part][:, None]
            if bool(rows.any()):
                yield part, rows

    def _fitted(self, part: slice, rows: Tensor) -> Tensor:
        """Marks the tokens of some rows that are fitted, [T]."""
        return (~self.held_out.held[part])[:, None].expand(rows.shape)[rows]

    def _tokens(
        self,
        pick: Callable[[Tensor], Tensor],
        fitted: Tensor,
        block: MoEBlock,
        device: torch.device,
        coordinates: OutputCoordinates,
    ) -> RefitTokens:
        """The tokens that ``pick`` takes from [n, L, ...], with their errors and what weights their neurons.

        Errors and weights are multiplied by ``factors``.
        """
        x, error = (pick(tensor).to(device) for tensor in (self.inputs, self.errors))
        error, routing = coordinates.errors(error), block.route(x)
        if self.factors is not None:
            factors = pick(self.factors).to(device)[:, None]
            error = error * factors.to(error.dtype)
            routing = replace(routing, weights=routing.weights * factors.to(routing.weights.dtype))
        return RefitTokens(block.expert_inputs(x), routing, error, fitted.to(device))


def _of_part(part: slice, rows: Tensor) -> Callable[[Tensor], Tensor]:
    """Takes the tokens of a micro-batch that a mask [b, L] marks."""
    return lambda tensor: tensor[part][rows]


def _at(places: Tensor) -> Callable[[Tensor], Tensor]:
    """Takes the tokens at places in [n · L]."""
    return lambda tensor: tensor.flatten(0, 1)[places]
