"""One decoder layer in memory: the input of its MoE block, and its output with whatever that block gives.

With the model's norms and factors around the block, the output of most layers is a residual plus the block's output.
Then attention runs once. Where it is not (a norm behind the block, a factor), the layer runs again from its input.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ream.errors import UserError
from ream.models.layers.apart import Apart
from ream.models.layers.arguments import LayerArguments, stream_of
from ream.models.layers.carried import Carried
from ream.models.layers.router_and_experts import AskedRouter, both
from ream.models.layers.token_ids import with_ids
from ream.models.layers.with_state import without_experts


class Catcher(nn.Module):
    """Stands in for a layer's MoE block: keeps the block's input and answers with zeros or what it is told."""

    def __init__(self, pair: bool, by_ids: bool = False, state: int = 0) -> None:
        """Args:
        pair: whether the layer expects a pair from the block, its output and something else.
        by_ids: whether the layer gives the block ``input_ids``, which are then kept behind its input.
        state: number of values of a token that the block is given by the layer before, which are kept there, too. Its
            router, which then needs its weights in the layer, computes what the block hands on.
        """
        super().__init__()
        self.pair, self._by_ids, self._state = pair, by_ids, state
        self._without_experts: Callable[..., Any] | None = None
        self.caught: Tensor | None = None
        self.answer: Tensor | None = None
        self._router: AskedRouter | None = None

    def take(self, layer: nn.Module, block: str, apart: Apart | None, experts: str) -> dict[str, nn.Module]:
        """Take the place of a layer's block.

        Args:
            layer: of transformers.
            block: path of its MoE block; "" where it has none.
            apart: where the router is then.
            experts: name of the experts module.

        Returns:
            The modules that were in its place, by their paths, for `nn.Module.set_submodule`.
        """
        stands: dict[str, nn.Module] = {block: self}
        if apart is not None:
            self._router = AskedRouter(apart.outputs)
            stands = {apart.router: self._router, experts: self}
        before = {path: layer.get_submodule(path) for path in stands}
        if self._state:
            silent = without_experts(before[block], experts)
            self._parameters, self._buffers, self._modules = silent._parameters, silent._buffers, silent._modules
            self._without_experts = silent.forward
        for path, module in stands.items():
            layer.set_submodule(path, module)
        return before

    def forward(self, hidden_states: Tensor, *others: object, **named: object) -> Tensor | tuple[Tensor, Any]:
        """The answer, or zeros of the shape of the block's input [B, L, H], which is kept in ``caught``."""
        asked = self._router.asked if self._router is not None else None
        self.caught = hidden_states if asked is None else both(hidden_states, asked)
        ids = named.get("input_ids") if self._by_ids else None
        if isinstance(ids, Tensor):
            self.caught = with_ids(hidden_states, ids)
        answer = torch.zeros_like(hidden_states) if self.answer is None else self.answer
        output = answer.reshape(hidden_states.shape)
        if self._without_experts is not None:
            given = next((each for each in (*others, *named.values()) if isinstance(each, Tensor)), None)
            self.caught = Carried(hidden_states.shape[2:], self._state, ids=False).packed(hidden_states, given)
            return output, self._without_experts(hidden_states, *others, **named)[1]
        return (output, None) if self.pair else output


class LoadedLayer:
    """A decoder layer with its weights in memory.

    Attributes:
        index: of the layer; multi-token layers count on from the decoder's.
        device: where the layer computes.
        dtype: in which the layer computes.
        additive: whether the layer's output is the residual plus the MoE block's output.
    """

    def __init__(
        self,
        module: nn.Module,
        index: int,
        arguments: LayerArguments,
        hidden: int,
        device: torch.device,
        dtype: torch.dtype,
        catcher: Catcher | None,
        additive: bool = True,
        carried: Carried | None = None,
    ) -> None:
        """Args:
        module: the layer with its weights.
        index: of the layer.
        arguments: what the model gives its layers.
        hidden: H.
        device: where the layer's weights are.
        dtype: of the hidden states.
        catcher: in the place of the layer's MoE block; None for a dense layer.
        additive: whether the layer's output is the residual plus the MoE block's output.
        carried: how the stream holds what goes along with hidden states; None where nothing does.
        """
        self._carried = carried
        self.index, self.device, self.dtype, self.additive = index, device, dtype, additive and carried is None
        self._module, self._arguments, self._hidden, self._catcher = module, arguments, hidden, catcher
        self._sum = torch.zeros((), dtype=torch.float32, device=device)

    @torch.no_grad()
    def __call__(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Run the layer on a micro-batch of right-padded sequences.

        Padding needs no mask, for no token attends to its right. The outputs at padded positions mean nothing.

        Args:
            hidden: [B, L, ...] input of the layer, on the host or the device; [B, L, H] for most models.

        Returns:
            What `leaving` needs beside the block's output, [B, L, ...] on the device, and the input [B, L, H] of that
            block. The first is the layer's output without its MoE block (the residual) or, if the layer is not
            additive, its input. For a dense layer its output and None.
        """
        hidden = hidden.to(self.device)
        output = self._run(hidden)
        if self._catcher is None:
            self._observe(output)
            return output, None
        caught = self._catcher.caught
        assert caught is not None
        caught = caught.reshape(*hidden.shape[:2], caught.shape[-1])
        self._observe(output, caught)
        return output if self.additive else hidden, caught

    @torch.no_grad()
    def leaving(self, kept: Tensor, output: Tensor) -> Tensor:
        """The hidden states that leave the layer, [B, L, ...] on the device.

        Args:
            kept: what `__call__` returned first, of the same tokens.
            output: [B, L, H] output of the MoE block.
        """
        if self.additive or self._catcher is None:
            return kept + output
        self._catcher.answer = output
        try:
            left = self._run(kept.to(self.device))
        finally:
            self._catcher.answer = None
        self._observe(left)
        return left

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

    def _run(self, hidden: Tensor) -> Tensor:
        rows, tokens = hidden.shape[:2]
        ids, state = None, None
        if self._carried is not None:
            hidden, state, ids = self._carried.unpacked(hidden)
        given = self._arguments.of(self.index, (rows, tokens, self._hidden), self.dtype, self.device, ids, state)
        output = self._module(hidden, *given.positional, **given.named)
        left = stream_of(output)
        if self._carried is None:
            return left
        return self._carried.packed(left, None if state is None else output[1], ids)

    def _observe(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            self._sum += 0.0 * tensor.sum(dtype=torch.float32)  # NaN from the first NaN or Inf on
