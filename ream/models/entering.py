"""What a walk takes through a model's layers: hidden states, and token ids where the layers are given them."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from ream.models.layers.arguments import LayerArguments
from ream.models.layers.token_ids import DIGITS, ids_of, with_ids, without_ids


class Stream:
    """The stream of a model: what enters its first layer, and how it lies in memory."""

    def __init__(
        self,
        arguments: LayerArguments,
        embedded: Callable[[Tensor], Tensor],
        hidden: int,
        dtype: torch.dtype,
        device: torch.device,
        by_ids: bool,
    ) -> None:
        """Args:
        arguments: what the model gives its layers.
        embedded: what the model makes of rows of its embedding table.
        hidden: H.
        dtype: of hidden states.
        device: where the model computes.
        by_ids: whether layers are given token ids; they then take the last channels of the stream.
        """
        self._arguments, self._embedded, self._by_ids = arguments, embedded, by_ids
        self._hidden, self._dtype, self._device = hidden, dtype, device

    def of(self, rows: Tensor, ids: Tensor) -> Tensor:
        """What enters the first layer, on the host: [n, L, H] for most models.

        Args:
            rows: [n, L, H] of the embedding table.
            ids: [n, L].
        """
        embedded = self._embedded(rows.to(self._dtype))
        entering = embedded if self._enters_as_embedded else self._entering(embedded, ids)
        return with_ids(entering, ids) if self._by_ids else entering

    @property
    def shape(self) -> tuple[int, ...]:
        """The axes of the stream behind sequences and tokens: (H,) for most models."""
        own = self.states_shape
        return (torch.Size(own).numel() + DIGITS,) if self._by_ids else own

    @cached_property
    def states_shape(self) -> tuple[int, ...]:
        """The axes of the model's own hidden states behind sequences and tokens."""
        return tuple(self._entering(*self._probe()).shape[2:])

    @property
    def carried(self) -> tuple[int, ...] | None:
        """``states_shape`` where the stream has token ids, too; None where it has not."""
        return self.states_shape if self._by_ids else None

    def states(self, stream: Tensor) -> Tensor:
        """The model's own hidden states in a stream [..., S]."""
        return without_ids(stream, self.states_shape) if self._by_ids else stream

    def ids(self, stream: Tensor) -> Tensor | None:
        """The token ids in a stream; None where it has none."""
        return ids_of(stream) if self._by_ids else None

    @cached_property
    def _enters_as_embedded(self) -> bool:
        """Whether the first layer is given the embedded tokens as they are."""
        embedded, ids = self._probe()
        return torch.equal(self._entering(embedded, ids), embedded)

    def _probe(self) -> tuple[Tensor, Tensor]:
        """[1, 2, H] numbers by lot in the place of embedded tokens, and ids."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(1, 2, self._hidden, generator=generator).to(self._dtype), torch.zeros(1, 2, dtype=torch.long)

    def _entering(self, embedded: Tensor, ids: Tensor) -> Tensor:
        """What the model makes of embedded tokens [n, L, H] before its first layer, on the host."""
        caught = (
            self._arguments.catch(row[None].to(self._device), own[None].to(self._device) if self._by_ids else None)
            for row, own in zip(embedded, ids, strict=True)
        )
        return torch.cat([each.stream.to("cpu") for each in caught])
