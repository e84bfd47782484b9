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
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ream.core.experts import expert_of, expert_outputs, neuron_activations
from ream.errors import UserError, one_line
from ream.models.family.activations import unit_of
from ream.models.family.architecture import Architecture
from ream.models.family.around_experts import inputs_and_output
from ream.models.family.derived.block_tensors import block_tensors
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.derived.transformers_block import transformers_block
from ream.models.family.derived.weightless import Parsed, parsed
from ream.models.family.expert_tensors import unpacked
from ream.models.family.recorded import recorded
from ream.models.family.sizes import check_kept
from ream.models.storage.checkpoint import Checkpoint

TOKENS = 64
MANY = 8  # experts of a proof, at least, where the layer has more
CLOSE = 1e-3  # of the largest output, in float32; what is not understood is off by 0.03 and more
NEVER = -1e4  # a logit with which an expert is never selected


@dataclass(frozen=True)
class Proof:
    """What the proof found; differences are the largest, as fractions of the largest output.

    Attributes:
        layer: whose weights were used.
        experts: number of experts that took part.
        outputs: difference of (a).
        moved: difference of (b).
        left_out: difference of (c); None where all experts are needed.
        seconds: that it took.
    """

    layer: int
    experts: int
    outputs: float
    moved: float
    left_out: float | None
    seconds: float

    @property
    def lasting(self) -> str:
        """What of the proof is the same on every machine and in every run, for the model card."""
        without = "" if self.left_out is None else ", and with an expert left out"
        return (
            f"in layer {self.layer}, {self.experts} experts computed what transformers' own block computes, to within "
            f"{CLOSE:g}: alone, in another order{without}"
        )

    def __str__(self) -> str:
        """A line for people."""
        without = "" if self.left_out is None else f", {self.left_out:.0e} with one left out"
        return (
            f"layer {self.layer}, {self.experts} experts: outputs differ from transformers' by {self.outputs:.0e}, by "
            f"{self.moved:.0e} with experts in another order{without}; {self.seconds:.1f} s"
        )


_PROVED: dict[tuple[str, str, str], Proof] = {}


def prove(checkpoint: Checkpoint, architecture: Architecture) -> Proof:
    """Prove that a derived family was understood; of the same checkpoint once a process.

    Args:
        checkpoint: whose first MoE layer is read.
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
    began, layer = time.monotonic(), architecture.moe_layers[0]
    differences: list[float | None] = []
    try:
        bench = _Bench(checkpoint, architecture, layer)
        for compare, what in (
            (bench.outputs, "the outputs of its experts"),
            (bench.moved, "with its experts in another order, the block's output"),
            (bench.left_out, "with an expert left out, the block's output"),
        ):
            difference = compare()
            if difference is not None and not difference < CLOSE:  # NaN, too
                raise NotDerivableError(f"{what} differs from transformers' by {difference:.2g} of the largest")
            differences.append(difference)
    except (NotDerivableError, *PROBED) as reason:
        if isinstance(reason, UserError) and not isinstance(reason, NotDerivableError):
            raise
        raise _refused(checkpoint, architecture, layer, one_line(reason)) from reason
    outputs, moved, left_out = differences
    assert outputs is not None
    assert moved is not None
    return Proof(layer, bench.count, outputs, moved, left_out, time.monotonic() - began)


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
        x = torch.randn(TOKENS, architecture.hidden, generator=torch.Generator().manual_seed(0))
        self._x = x - x.mean(1, keepdim=True) + 0.3

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
            selected = torch.full((TOKENS, 1), index)
            largest = max(largest, _difference(ours, experts(x, selected, torch.ones(TOKENS, 1))))
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
        return _difference(ours, self._output(self._silenced(self._whole_block, unused)))

    def _block(self, experts: Sequence[int]) -> Any:
        """Transformers' block with these experts, from the tensors that ream would write."""
        family = self._architecture.family
        keys = [key for key in family.experts_keys if key in self._model.text.to_dict()]
        model: Parsed = self._model.changed(**dict.fromkeys(keys, len(experts)))
        layers = f"{family.decoder}.layers" if family.decoder else "layers"
        tensors = block_tensors(self._checkpoint, self._architecture, self._layer, experts)
        return transformers_block(model, f"{layers}.{self._layer}.{family.block}", tensors)

    @torch.no_grad()
    def _output(self, block: Any) -> Tensor:
        """The block's output [T, H]."""
        result = block(self._x[None])
        output: Tensor = result[0] if self._architecture.family.pair else result
        return output.reshape(self._x.shape)

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

    def _silenced(self, block: Any, experts: set[int]) -> Any:
        """The block, changed so that its router never selects some experts."""
        family, tensors = self._architecture.family, block.state_dict(keep_vars=True)
        for router in family.router:
            name = family.module_name(family.in_layer(router.name)).removeprefix(f"{family.block}.")
            entries = tensors[name].data.movedim(router.axis, 0)
            matrix = router is family.router[0]
            for expert in experts:
                entries[expert] = NEVER / float(self._x[0].sum()) if matrix else NEVER
        return block


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
