"""What goes along with hidden states through a model's layers: a state of its routers, and token ids.

Zaya's routers are given what the router of the layer before has computed. DeepSeek-V4's are given token ids.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ream.models.layers.token_ids import DIGITS, ids_of, with_ids, without_ids


@dataclass(frozen=True)
class Carried:
    """How a walk's stream [..., S] holds hidden states and what goes along with them.

    Attributes:
        axes: of the model's own hidden states behind sequences and tokens.
        state: number of values of a token that a layer hands to the next beside its hidden states.
        ids: whether there are token ids, in the last channels.
    """

    axes: tuple[int, ...]
    state: int
    ids: bool

    @property
    def width(self) -> int:
        """S."""
        return torch.Size(self.axes).numel() + self.state + (DIGITS if self.ids else 0)

    def packed(self, hidden: Tensor, state: Tensor | None = None, ids: Tensor | None = None) -> Tensor:
        """The stream [B, L, S].

        Args:
            hidden: [B, L, ...].
            state: [B, L, R]; zeros where None, as before the first layer.
            ids: [B, L]; None where there are none.
        """
        flat = hidden.flatten(2)
        if self.state:
            own = flat.new_zeros(*flat.shape[:2], self.state) if state is None else state.to(flat)
            flat = torch.cat([flat, own], -1)
        return flat if ids is None else with_ids(flat, ids)

    def unpacked(self, stream: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Hidden states [..., *axes], the state [..., R] and the ids [...] of a stream; None for what is not there."""
        ids = ids_of(stream) if self.ids else None
        flat = without_ids(stream) if self.ids else stream
        hidden, state = flat.split([flat.shape[-1] - self.state, self.state], -1)
        return hidden.reshape(*hidden.shape[:-1], *self.axes), state if self.state else None, ids
