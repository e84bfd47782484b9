"""The tensors of a router: those beside the experts that change their shape with the number of experts."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ream.models.family.derived.place import Place
from ream.models.family.derived.probe import Probe, probed
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.derived.weightless import Parsed, text_model


@dataclass(frozen=True)
class ModuleRouter:
    """A tensor of a router in transformers' MoE block.

    Attributes:
        name: within the block.
        axis: along which the experts lie.
        matrix: whether it makes logits of hidden states.
        beyond: number of entries behind the experts' that stand for none.
    """

    name: str
    axis: int
    matrix: bool
    beyond: int = 0


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module that checkpoints have, by name."""
    return module.state_dict(keep_vars=True)


def router_tensors(text: Any, other: Any, place: Place, experts: int) -> tuple[ModuleRouter, ...]:
    """The router's tensors, the matrix first.

    Args:
        text: the text model.
        other: the same with another number of experts.
        place: of the experts.
        experts: N of ``text``.

    Raises:
        NotDerivableError: a tensor that changes is not the block's, an entry is no expert's, or there is no one matrix.
    """
    before, after = tensors_of(text.get_submodule(place.layer_path)), tensors_of(other.get_submodule(place.layer_path))
    inside, found = place.start, list[ModuleRouter]()
    for name, tensor in before.items():
        axes = [axis for axis, size in enumerate(tensor.shape) if after[name].shape[axis] != size]
        if not axes or _of_stack(name, tensor, place):
            continue
        if not name.startswith(inside if place.apart is None else f"{place.apart.router}."):
            raise NotDerivableError(
                f"{name} has an entry for each expert and lies outside of the MoE block {place.block}"
            )
        beyond = tensor.shape[axes[0]] - experts  # of shared experts, behind the others: the proof shows whether
        if beyond < 0:
            raise NotDerivableError(f"{name} has {tensor.shape[axes[0]]} entries for {experts} experts")
        matrix = tensor.dim() == 2 and min(tensor.shape) > 1
        found.append(ModuleRouter(name.removeprefix(inside), axes[0], matrix, beyond))
    matrices = [router for router in found if router.matrix]
    if len(matrices) != 1:
        raise NotDerivableError(
            f"its MoE block {place.block or place.layer_path} has {len(matrices)} matrices with a row for each expert"
        )
    return tuple(sorted(found, key=lambda router: not router.matrix))


def _of_stack(name: str, tensor: Tensor, place: Place) -> bool:
    """Whether a tensor belongs to the experts themselves: of the experts module, with an axis beside the experts'."""
    return name.startswith(f"{place.start}{place.experts}.") and tensor.dim() > 1


def logits_module(model: Parsed, place: Place, matrix: str) -> str:
    """The path within the block of the module that gives logits: that with the matrix, or the router around it.

    LongCat's router takes the matrix from a module that it does not call.

    Args:
        model: shortened.
        place: of the experts.
        matrix: name of the matrix within the block.

    Raises:
        NotDerivableError: the block does not run on hidden states alone, or hands its experts no indices and weights.
    """
    path = matrix.rpartition(".")[0]
    around = path.rpartition(".")[0]
    block = place.block_of(text_model(model.text))
    try:
        probed(block, place, path, model.text.hidden_size)
    except NotDerivableError:
        if not around:
            raise
        probed(block, place, around, model.text.hidden_size)
        return around
    return path


def exact_names(
    block: Any, routers: Iterable[ModuleRouter], kept: Collection[str], block_path: str, ask: Callable[[], Probe]
) -> set[str]:
    """Names of the router's tensors that stay in float32 whatever dtype the model computes in.

    Those are the ones that transformers keeps, and correction biases: vectors on which the logits do not depend, but
    the selection does. (Gemma-4's scale of each expert changes only the weights.)

    Args:
        block: in float32, with values.
        routers: the router's tensors.
        kept: parts of the names of tensors that transformers keeps in float32.
        block_path: of the block in the text model.
        ask: gives the decision of the block.
    """
    tensors, decision, exact = block.state_dict(keep_vars=True), ask(), set()
    for router in routers:
        if any(part in f"{block_path}.{router.name}" for part in kept):
            exact.add(router.name)
        if router.matrix:
            continue
        tensor = tensors[router.name].data
        before = tensor.clone()
        tensor.add_(1 + torch.arange(tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape))
        changed = ask()
        if torch.equal(changed.logits, decision.logits) and not torch.equal(changed.indices, decision.indices):
            exact.add(router.name)
        tensor.copy_(before)
    return exact
