"""What a walk takes through a model's layers: hidden states, and what goes along with them (`layers.carried`)."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from ream.models.layers.arguments import LayerArguments
from ream.models.layers.carried import Carried


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
        state: int = 0,
    ) -> None:
        """Args:
        arguments: what the model gives its layers.
        embedded: what the model makes of rows of its embedding table.
        hidden: H.
        dtype: of hidden states.
        device: where the model computes.
        by_ids: whether layers are given token ids; they then take the last channels of the stream.
        state: number of values of a token that a layer hands to the next beside its hidden states.
        """
        self._arguments, self._embedded, self._by_ids, self._state = arguments, embedded, by_ids, state
        self._hidden, self._dtype, self._device = hidden, dtype, device

    def of(self, rows: Tensor, ids: Tensor) -> Tensor:
        """What enters the first layer, on the host: [n, L, H] for most models.

        Args:
            rows: [n, L, H] of the embedding table.
            ids: [n, L].
        """
        embedded = self._embedded(rows.to(self._dtype))
        entering = embedded if self._enters_as_embedded else self._entering(embedded, ids)
        return entering if self.carried is None else self.carried.packed(entering, ids=ids if self._by_ids else None)

    @property
    def shape(self) -> tuple[int, ...]:
        """The axes of the stream behind sequences and tokens: (H,) for most models."""
        return self.states_shape if self.carried is None else (self.carried.width,)

    @cached_property
    def states_shape(self) -> tuple[int, ...]:
        """The axes of the model's own hidden states behind sequences and tokens."""
        return tuple(self._entering(*self._probe()).shape[2:])

    @property
    def carried(self) -> Carried | None:
        """How the stream holds what goes along with hidden states; None where nothing does."""
        return Carried(self.states_shape, self._state, self._by_ids) if self._by_ids or self._state else None

    def states(self, stream: Tensor) -> Tensor:
        """The model's own hidden states in a stream [..., S]."""
        return stream if self.carried is None else self.carried.unpacked(stream)[0]

    def ids(self, stream: Tensor) -> Tensor | None:
        """The token ids in a stream; None where it has none."""
        return None if self.carried is None else self.carried.unpacked(stream)[2]

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
