"""A MoE block of transformers with its weights, in the terms of the core."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ream.core.experts import ExpertStack, GatedUnit, stack_of
from ream.core.routing import SCORES, Routing
from ream.errors import UserError
from ream.models.family.around_experts import NotLinearError, inputs_alone, output_map
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
        layout, count = self.family.module_layout, self._count
        tensors = {kind.name: self.module.get_parameter(kind.name).detach()[:count] for kind in layout}
        return stack_of(unpacked(layout, tensors), self.input_gate)

    @property
    def _count(self) -> int:
        """N, or K of a compressed block."""
        stack = self.family.module_layout[0]
        return len(self.module.get_parameter(stack.name)) - stack.beyond

    @property
    def input_gate(self) -> Tensor | None:
        """[N, H]: the router's rows where they scale the experts' inputs (Llama-4), else None."""
        if not self.family.scales_inputs:
            return None
        rows: Tensor = self.module.router.weight.detach()
        return rows

    def input_width(self, hidden: int) -> int:
        """Number of values of an input of the block, whose hidden states have ``hidden`` of them."""
        return input_width(self.family, hidden)

    def expert_inputs(self, x: Tensor) -> Tensor:
        """[..., E]: what the block hands its experts, of its inputs, which may have more for the router.

        For most models these are its inputs; of some a part of them, of others a projection.
        """
        inputs = expert_inputs(self.family, x)
        if not self.family.changes_inputs:
            return inputs
        handed = inputs_alone(self.module, x.reshape(-1, x.shape[-1]), self.family.experts_module)
        return handed.reshape(*x.shape[:-1], -1)

    def route(self, x: Tensor, scores: str | None = None) -> Routing:
        """The decisions of the model's own gate.

        Args:
            x: [T, H] inputs of the block, with what else the router needs (`block_inputs`).
            scores: a name in `SCORES` that replaces the family's scoring of all experts; the selected experts and
                their weights remain the gate's.
        """
        logits, weights, indices = ROUTERS[self.family.rule](self.module, self.family, x)
        p, beyond, count = SCORES[scores or self.family.scores](logits), self.family.beyond, self._count
        if beyond is not None:
            logits, p = logits[:, :count], p[:, :count]
            indices = beyond.experts(weights, indices, count)
        return Routing(logits, p, indices, weights.float())

    def output_map(self, hidden: int) -> Tensor | None:
        """[H, E]: what the block multiplies the weighted sum of its experts' outputs with; None for nothing.

        Args:
            hidden: H.

        Raises:
            UserError: it does something else with the sum.
        """
        if not self.family.changes_outputs:
            return None
        try:
            return output_map(self.module, hidden, self.family.experts_module)
        except NotLinearError as error:
            raise UserError(
                f"{error}, so that experts cannot be refitted to it; choose a method without a refit"
            ) from error

    def free(self) -> None:
        """Drop the module's weights; their memory is released once no view of them is left."""
        self.module.to("meta")

    def __call__(self, x: Tensor, routed: Tensor | None = None) -> Tensor:
        """MoE(x) [B, L, H].

        Args:
            x: [B, L, H] inputs of the block, with what else the router needs.
            routed: [B, L, H], Σ g_j(x) E_j(x) over T(x) where it was computed before: the module then adds all that it
                has beside its experts (shared experts, their gates) without running these.
        """
        if not self.family.dense:
            return self._output(x, routed)
        flat = x.reshape(-1, x.shape[-1])
        parts = torch.split(flat, DENSE_TOKENS)
        known = [None] * len(parts) if routed is None else torch.split(routed.flatten(0, -2), DENSE_TOKENS)
        outputs = [self._output(part[None], answer)[0] for part, answer in zip(parts, known, strict=True)]
        return torch.cat(outputs).reshape(x.shape)

    @contextmanager
    def _answered(self, routed: Tensor) -> Iterator[None]:
        """Let the experts module answer with what is known.

        Most models call it with their tokens and take the weighted sum. A model that scales the experts' inputs gives
        it every token once for each expert and adds up the N outputs, so the answer is the first of them.
        """
        experts = self.module.get_submodule(self.family.experts_module)

        beyond, count = self.family.beyond, self._count

        def answer(given: Tensor, *others: object, **named: object) -> Tensor:
            known = routed.reshape(-1, routed.shape[-1])
            if given.numel() == known.numel():
                more = None if beyond is None else beyond.added(given, [*others, *named.values()], count)
                output = known.reshape(given.shape)
                return output if more is None else output + more
            return torch.cat([known, known.new_zeros(given.numel() // known.shape[-1] - len(known), known.shape[-1])])

        experts.forward = answer
        try:
            yield
        finally:
            del experts.forward

    def _output(self, x: Tensor, routed: Tensor | None = None) -> Tensor:
        with nullcontext() if routed is None else self._answered(routed):
            result = self.module(x)
        output: Tensor = result[0] if self.family.pair else result
        return output.reshape(*x.shape[:-1], -1)
