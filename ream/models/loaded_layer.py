"""One decoder layer in memory: its residual and the input of its MoE block, for a micro-batch of hidden states."""

from typing import Any

import torch
from torch import Tensor, nn

from ream.errors import UserError


class Catcher(nn.Module):
    """Stands in for a layer's MoE block: keeps the block's input and returns zeros."""

    def __init__(self, pair: bool) -> None:
        """Args:
        pair: whether the layer expects a pair from the block, its output and something else.
        """
        super().__init__()
        self.pair = pair
        self.caught: Tensor | None = None

    def forward(self, hidden_states: Tensor) -> Tensor | tuple[Tensor, None]:
        """Zeros of the shape of the block's input [B, L, H], which is kept in ``caught``."""
        self.caught = hidden_states
        zeros = torch.zeros_like(hidden_states)
        return (zeros, None) if self.pair else zeros


class LoadedLayer:
    """A decoder layer with its weights in memory.

    Attributes:
        index: of the layer; multi-token layers count on from the decoder's.
        device: where the layer computes.
        dtype: in which the layer computes.
    """

    def __init__(
        self, skeleton: Any, index: int, device: torch.device, dtype: torch.dtype, catcher: Catcher | None
    ) -> None:
        """Args:
        skeleton: the model in transformers, in which every other layer passes its input through.
        index: of the layer.
        device: where the layer's weights are.
        dtype: of the hidden states.
        catcher: in the place of the layer's MoE block; None for a dense layer.
        """
        self.index, self.device, self.dtype = index, device, dtype
        self._skeleton, self._catcher = skeleton, catcher
        self._sum = torch.zeros((), dtype=torch.float32, device=device)

    @torch.no_grad()
    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the layer on a micro-batch of right-padded sequences.

        Padding needs no mask, for no token attends to its right. The outputs at padded positions mean nothing.

        Args:
            hidden: [B, L, H] input of the layer, on the host or the device.

        Returns:
            The layer's output without its MoE block (the residual) and the input of that block, both [B, L, H] on the
            device; for a dense layer its output and None.
        """
        hidden = hidden.to(self.device)
        output = self._skeleton(inputs_embeds=hidden, use_cache=False).last_hidden_state
        caught = None if self._catcher is None else self._catcher.caught
        for tensor in (output,) if caught is None else (output, caught):
            self._sum += 0.0 * tensor.sum(dtype=torch.float32)  # NaN from the first NaN or Inf on
        return output, caught

    def check(self) -> None:
        """Refuse activations that hold NaN or Inf, of all micro-batches so far.

        On a GPU the host waits for the device here, once a layer.

        Raises:
            UserError: activations hold NaN or Inf.
        """
        if not bool(torch.isfinite(self._sum)):
            raise UserError(
                f"layer {self.index}: activations hold NaN or Inf in {self.dtype}; "
                "try compute.dtype: float32 or check the checkpoint"
            )
