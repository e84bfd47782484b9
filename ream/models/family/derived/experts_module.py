"""What the tensors of transformers' experts module mean, and what its neurons compute: found by running two experts."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ream.core.experts import GatedUnit, expert_of, expert_outputs, neuron_activations
from ream.errors import one_line
from ream.models.family.derived.one_expert import one_expert
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.expert_tensors import unpacked
from ream.models.family.layout import ExpertTensor, Layout

PROBED_EXPERTS, TOKENS = 2, 24
LARGE = 12  # times the size of hidden states: reaches the limits of clamped units
CLOSE = 1e-4  # relative to the largest output, in float32; another unit or orientation is off by more than 0.01


@dataclass(frozen=True)
class ExpertsModule:
    """How transformers' experts module is read.

    Attributes:
        layout: its tensors, with names within the block.
        unit: a name for `activations.unit_of`.
    """

    layout: Layout
    unit: str


def experts_module(
    experts: Any, name: str, hidden: int, width: int, units: Mapping[str, GatedUnit], count: int
) -> ExpertsModule:
    """Find how an experts module is read.

    Args:
        experts: on the meta device; it is given two experts with random values.
        name: of the module within its block.
        hidden: H, of the experts' inputs.
        width: D.
        units: to choose from, by name, the likeliest first.
        count: N.

    Raises:
        NotDerivableError: its experts end with a norm, cannot be run, or compute something unknown.
    """
    kind = type(experts).__name__
    if getattr(experts, "has_post_expert_norm", False):
        raise NotDerivableError(
            f"each of its experts ends with a norm ({kind}), so merged neurons do not give merged outputs"
        )
    beyond = {f"{name}.{inner}": len(tensor) - count for inner, tensor in experts.named_parameters(recurse=False)}
    _give_two_experts(experts)
    own = {f"{name}.{inner}": tensor for inner, tensor in experts.named_parameters(recurse=False) if tensor.dim() > 1}
    x = torch.randn(TOKENS, hidden, generator=torch.Generator().manual_seed(0))
    inputs = torch.cat([x, LARGE * x])
    outputs = [_run(experts, inputs, index) for index in range(PROBED_EXPERTS)]
    for layout in _layouts(own, name, hidden, width, getattr(experts, "is_concatenated", True) is False):
        fields = unpacked(layout, own)
        for unit_name, unit in units.items():
            if all(
                _close(_computed(fields, index, unit, inputs), outputs[index], TOKENS)
                for index in range(PROBED_EXPERTS)
            ):
                return ExpertsModule(tuple(replace(kind, beyond=beyond[kind.name]) for kind in layout), unit_name)
    raise NotDerivableError(f"its experts ({kind}) compute none of {', '.join(units)}")


def _give_two_experts(experts: nn.Module) -> None:
    """Random values for the first two experts of a module on the meta device, scaled as trained weights are."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in list(experts.named_parameters(recurse=False)):
        shape = (PROBED_EXPERTS, *tensor.shape[1:])
        scale = max(tensor.shape[1:]) ** -0.5 if tensor.dim() == 3 else 0.1
        values = nn.Parameter(scale * torch.randn(shape, generator=generator), requires_grad=False)
        setattr(experts, name, values)


def _run(experts: Any, inputs: Tensor, index: int) -> Tensor:
    """The module's own outputs [T, H] of one expert, with weight 1."""
    try:
        return one_expert(experts, inputs, index)
    except PROBED as error:
        raise NotDerivableError(
            f"its experts ({type(experts).__name__}) do not run on an input, indices and weights: {one_line(error)}"
        ) from error


def _layouts(tensors: Mapping[str, Tensor], name: str, hidden: int, width: int, interleaved: bool) -> Iterator[Layout]:
    """The layouts that the shapes allow, with alternating rows of gate and up first where the module says so."""
    parts = {f"{name}.{part}_proj{bias}": part + bias for part in ("gate_up", "up", "down") for bias in ("", "_bias")}
    unknown = [own for own in tensors if own not in parts]
    if unknown:
        raise NotDerivableError(f"its experts have a tensor {unknown[0]}, which ream does not know")
    for alternating in (interleaved, not interleaved):
        choices = []
        for own, tensor in tensors.items():
            part = parts[own]
            variants = [
                ExpertTensor(own, part, transposed, alternating and part.startswith("gate_up"))
                for transposed in ((False,) if part.endswith("bias") else (False, True))
            ]
            choices.append([kind for kind in variants if kind.shape(hidden, width) == tuple(tensor.shape[1:])])
        yield from itertools.product(*choices)


def _computed(fields: Mapping[str, Tensor], index: int, unit: GatedUnit, inputs: Tensor) -> Tensor:
    """The outputs [T, H] of one expert by ream's reading."""
    expert = expert_of({field: tensor[index].float() for field, tensor in fields.items()})
    return expert_outputs(neuron_activations(inputs, expert, unit), expert)


def _close(ours: Tensor, theirs: Tensor, tokens: int) -> bool:
    """Whether outputs are equal, of the first tokens and of the others, whose outputs are larger."""
    halves = zip(ours.split(tokens), theirs.split(tokens), strict=True)
    return all(float((mine - other).abs().max()) < CLOSE * float(other.abs().max()) for mine, other in halves)
