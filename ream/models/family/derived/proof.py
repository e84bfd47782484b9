"""The proof that a family was understood, on the real weights of a layer of the user's checkpoint, before any work.

Transformers loads the layer's MoE block by its own conversion. Against this block, on random inputs:

(a) the outputs of experts are computed by ream from the tensors on disk;
(b) the experts on disk change places, with the entries of the router: the block's output must stay;
(c) the least used expert (of each router group) is left out on disk: the block's output must be that of the whole block
    whose router never selects this expert.

Where the layer has many experts, the proof is about the first of them, so that it takes seconds and little memory.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ream.core.experts import expert_of, expert_outputs, neuron_activations
from ream.errors import UserError, one_line
from ream.models.family.activations import unit_of
from ream.models.family.architecture import Architecture
from ream.models.family.around_experts import inputs_and_output
from ream.models.family.block_inputs import input_width
from ream.models.family.derived.block_tensors import block_tensors, check_tables
from ream.models.family.derived.one_expert import one_expert
from ream.models.family.derived.proof_result import CLOSE, Proof
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.derived.silenced import silence
from ream.models.family.derived.transformers_block import transformers_block
from ream.models.family.derived.weightless import Parsed, parsed
from ream.models.family.expert_tensors import unpacked
from ream.models.family.family import RouterTensor
from ream.models.family.recorded import recorded
from ream.models.family.sizes import check_kept
from ream.models.layers.router_and_experts import block_in
from ream.models.layers.token_ids import DIGITS, with_ids
from ream.models.storage.checkpoint import Checkpoint

TOKENS = 64
MANY = 8  # experts of a proof, at least, where the layer has more


_PROVED: dict[tuple[str, str, str], Proof] = {}


def prove(checkpoint: Checkpoint, architecture: Architecture) -> Proof:
    """Prove that a derived family was understood; of the same checkpoint once a process.

    Args:
        checkpoint: whose first MoE layer of each kind is read.
        architecture: of the checkpoint.

    Raises:
        UserError: an output differs; says which.
    """
    key = (str(checkpoint.folder), json.dumps(checkpoint.config, sort_keys=True), json.dumps(checkpoint.shards))
    if key not in _PROVED:
        _PROVED[key] = _prove(checkpoint, architecture)
    return _PROVED[key]


def _prove(checkpoint: Checkpoint, architecture: Architecture) -> Proof:
    """See `prove`."""
    check_tables(checkpoint, architecture)
    began, differences = time.monotonic(), list[tuple[float, float, float | None]]()
    for layer in _kinds(architecture):
        try:
            bench = _Bench(checkpoint, architecture, layer)
            differences.append(_differences(bench))
        except (NotDerivableError, *PROBED) as reason:
            if isinstance(reason, UserError) and not isinstance(reason, NotDerivableError):
                raise
            raise _refused(checkpoint, architecture, layer, one_line(reason)) from reason
    outputs, moved, left_out = zip(*differences, strict=True)
    without = [difference for difference in left_out if difference is not None]
    return Proof(
        layer=architecture.moe_layers[0],
        experts=bench.count,
        outputs=max(outputs),
        moved=max(moved),
        left_out=max(without, default=None),
        seconds=time.monotonic() - began,
    )


def _kinds(architecture: Architecture) -> list[int]:
    """The first MoE layer, and the first of each kind whose router has other tensors."""
    first: dict[tuple[RouterTensor, ...], int] = {}
    for layer in architecture.moe_layers:
        if layer < architecture.layers:
            first.setdefault(tuple(architecture.routers(layer)), layer)
    return list(first.values())


def _differences(bench: "_Bench") -> tuple[float, float, float | None]:
    """The differences of (a), (b) and (c) in a layer.

    Raises:
        NotDerivableError: one is too large.
    """
    outputs = _small(bench.outputs(), "the outputs of its experts")
    moved = _small(bench.moved(), "with its experts in another order, the block's output")
    left_out = bench.left_out()
    return outputs, moved, left_out and _small(left_out, "with an expert left out, the block's output")


def _small(difference: float, what: str) -> float:
    """The difference, which must be small."""
    if not difference < CLOSE:  # NaN, too
        raise NotDerivableError(f"{what} differs from transformers' by {difference:.2g} of the largest")
    return difference


def _refused(checkpoint: Checkpoint, architecture: Architecture, layer: int, reason: str) -> UserError:
    """The error of a proof that fails."""
    return UserError(
        f"{checkpoint.folder}: model_type '{architecture.family.model_type}' was derived but not understood: in layer "
        f"{layer}, {reason}; nothing was changed, and this model needs an entry in ream/models/family/families.py"
    )


class _Bench:
    """The layer's block in transformers, with the inputs on which it is compared."""

    def __init__(self, checkpoint: Checkpoint, architecture: Architecture, layer: int) -> None:
        self._checkpoint, self._layer = checkpoint, layer
        self._architecture = replace(architecture, experts=_enough(architecture))
        self._model = parsed(checkpoint.config).shortened(layer + 1)
        # All inputs have the same sum, so that a row of equal values gives all of them the same logit.
        family, generator = architecture.family, torch.Generator().manual_seed(0)
        width = input_width(family, architecture.hidden) - (DIGITS if family.by_ids else 0)
        x = torch.randn(TOKENS, width, generator=generator)
        self._x = x - x.mean(1, keepdim=True) + 0.3
        if family.by_ids:
            ids = torch.randint(family.vocabulary(checkpoint.config), (1, TOKENS), generator=generator)
            self._x = with_ids(self._x[None], ids)[0]

        self._everyone = list(range(self.count))
        self._whole_block = self._block(self._everyone)
        self._whole = self._output(self._whole_block)

    @property
    def count(self) -> int:
        """Number of experts that take part."""
        return self._architecture.experts

    @torch.no_grad()
    def outputs(self) -> float:
        """The difference of (a)."""
        architecture, largest = self._architecture, 0.0
        experts = self._whole_block.get_submodule(architecture.family.experts_module)
        x = inputs_and_output(self._whole_block, self._x, architecture.family.experts_module)[0]
        unit = unit_of(architecture.family.unit, architecture.family.numbers(self._checkpoint.config))
        for index in self._everyone:
            read = {
                kind.name: self._checkpoint.read(architecture.tensor_name(self._layer, kind), row=index)
                if kind.stacked
                else self._checkpoint.read(architecture.tensor_name(self._layer, kind, index))
                for kind in architecture.layout
            }
            expert = expert_of({field: tensor.float() for field, tensor in unpacked(architecture.layout, read).items()})
            ours = expert_outputs(neuron_activations(x, expert, unit), expert)
            largest = max(largest, _difference(ours, one_expert(experts, x, index)))
        return largest

    def moved(self) -> float:
        """The difference of (b): the first expert of every router group goes behind the others."""
        order = self._by_group(lambda group: [*group[1:], group[0]])
        return _difference(self._output(self._block(order)), self._whole)

    def left_out(self) -> float | None:
        """The difference of (c); None where all experts are needed."""
        unused = self._unused()
        kept = [expert for expert in self._everyone if expert not in unused]
        if not _keepable(self._architecture, len(kept)):
            return None
        ours = self._output(self._block(kept))
        silence(self._whole_block, self._architecture.family, unused, self._x)
        return _difference(ours, self._output(self._whole_block))

    def _block(self, experts: Sequence[int]) -> Any:
        """Transformers' block with these experts, from the tensors that ream would write."""
        family = self._architecture.family
        keys = [key for key in family.experts_keys if key in self._model.text.to_dict()]
        model: Parsed = self._model.changed(**dict.fromkeys(keys, len(experts)))
        layers = f"{family.decoder}.layers" if family.decoder else "layers"
        tensors = block_tensors(self._checkpoint, self._architecture, self._layer, experts)
        return transformers_block(
            model,
            f"{layers}.{self._layer}",
            lambda layer: block_in(layer, family.block, family.apart, family.experts_module, family.state),
            tensors,
        )

    @torch.no_grad()
    def _output(self, block: Any) -> Tensor:
        """The block's output [T, H]."""
        result = block(self._x[None])
        output: Tensor = result[0] if self._architecture.family.pair else result
        return output.reshape(len(self._x), -1)

    def _by_group(self, change: Callable[[list[int]], list[int]]) -> list[int]:
        """All experts, with the members of every router group changed."""
        size = self.count // self._architecture.router_groups
        groups = [self._everyone[start : start + size] for start in range(0, self.count, size)]
        return [member for group in groups for member in change(group)]

    @torch.no_grad()
    def _unused(self) -> set[int]:
        """The least used expert of every router group; of equal ones, the last."""
        family = self._architecture.family
        _, _, indices, _ = recorded(self._whole_block, self._x, family.experts_module, family.router_module)
        counts = torch.bincount(indices.flatten(), minlength=self.count).tolist()
        return set(self._by_group(lambda group: [min(reversed(group), key=lambda expert: counts[expert])]))


def _enough(architecture: Architecture) -> int:
    """The number of experts that take part: all, or as few as the router allows, but many."""
    groups = architecture.router_groups
    for count in range(groups, architecture.experts, groups):
        if count >= MANY and count > architecture.top_k + groups and _keepable(architecture, count - groups):
            return count
    return architecture.experts


def _keepable(architecture: Architecture, count: int) -> bool:
    """Whether the model can have so few experts."""
    try:
        check_kept(architecture, count)
    except UserError:
        return False
    return True


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, as a fraction of the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())
