"""A MoE block that is given token ids beside hidden states, as a function of one tensor that holds both."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ream.models.layers.token_ids import ids_of, without_ids


class WithIds(nn.Module):
    """Stands for a block, whose parameters and modules it shares under the same names."""

    def __init__(self, block: nn.Module) -> None:
        """Args:
        block: of transformers; its ``forward`` takes hidden states and ``input_ids``.
        """
        super().__init__()
        self._parameters, self._buffers, self._modules = block._parameters, block._buffers, block._modules
        self._call: Callable[..., Any] = block.forward

    def forward(self, x: Tensor) -> Any:
        """What the block returns for inputs [B, L, H + DIGITS] of `token_ids.with_ids`."""
        return self._call(without_ids(x), input_ids=ids_of(x))
