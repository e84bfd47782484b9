"""A MoE block of transformers with its weights, in the terms of the core."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit
from ream.core.routing import SCORES, Routing
from ream.models.family.block_inputs import expert_inputs, input_width
from ream.models.family.expert_tensors import unpacked
from ream.models.family.family import Family
from ream.models.family.routers import ROUTERS

# Tokens that go at once through a block whose module runs all experts on all tokens: this bounds its memory.
DENSE_TOKENS = 256


@dataclass(frozen=True)
class MoEBlock:
    """A MoE block of transformers with its weights.

    Attributes:
        module: the block in transformers; its class differs from family to family.
        family: how the module is read.
        unit: what the neurons of its experts compute.
    """

    module: Any
    family: Family
    unit: GatedUnit

    @property
    def experts(self) -> ExpertStack:
        """Views of the weights of all experts."""
        layout = self.family.module_layout
        tensors = {kind.name: self.module.get_parameter(kind.name).detach() for kind in layout}
        return ExpertStack(**unpacked(layout, tensors), input_gate=self.input_gate)

    @property
    def input_gate(self) -> Tensor | None:
        """[N, H]: the router's rows where they scale the experts' inputs (Llama-4), else None."""
        if not self.family.scales_inputs:
            return None
        rows: Tensor = self.module.router.weight.detach()
        return rows

    @property
    def input_width(self) -> int:
        """Number of values of an input of the block."""
        return input_width(self.family, self.experts.down.shape[1])

    def expert_inputs(self, x: Tensor) -> Tensor:
        """[..., H]: what the experts are given of inputs of the block, which may have more for the router."""
        return expert_inputs(self.family, x)

    def route(self, x: Tensor, scores: str | None = None) -> Routing:
        """The decisions of the model's own gate.

        Args:
            x: [T, H] inputs of the block, with what else the router needs (`block_inputs`).
            scores: a name in `SCORES` that replaces the family's scoring of all experts; the selected experts and
                their weights remain the gate's.
        """
        logits, weights, indices = ROUTERS[self.family.rule](self.module, self.family, x)
        return Routing(logits, SCORES[scores or self.family.scores](logits), indices, weights.float())

    def free(self) -> None:
        """Drop the module's weights; their memory is released once no view of them is left."""
        self.module.to("meta")

    def __call__(self, x: Tensor) -> Tensor:
        """MoE(x) [B, L, H] for inputs of the block."""
        if not self.family.dense:
            return self._output(x)
        flat = x.reshape(-1, x.shape[-1])
        return torch.cat([self._output(tokens[None])[0] for tokens in torch.split(flat, DENSE_TOKENS)]).reshape(x.shape)

    def _output(self, x: Tensor) -> Tensor:
        result = self.module(x)
        output: Tensor = result[0] if self.family.pair else result
        return output.reshape(self.expert_inputs(x).shape)
