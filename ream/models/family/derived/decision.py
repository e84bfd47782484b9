"""How a router decides, found on a block with random values: its rule, its scores p(x), its groups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from ream.core.routing import SCORES
from ream.models.family.derived.place import Place
from ream.models.family.derived.probe import Probe, given_values, probed
from ream.models.family.derived.refusal import PROBED, NotDerivableError
from ream.models.family.derived.weightless import Parsed, text_model

CLOSE = 1e-3  # relative; bfloat16 is not used here
CALLS: dict[str, Callable[[Any, Tensor], Any]] = {
    "gate": lambda block, x: block.gate(x),
    "router": lambda block, x: block.router(x),
    "gate-and-bias": lambda block, x: block.gate(x, block.e_score_correction_bias),
}


@dataclass(frozen=True)
class Groups:
    """Limits of the router to groups.

    Attributes:
        key: config key of n_group.
        top_key: config key of topk_group.
        best: number of its best experts by which a group is scored.
    """

    key: str | None = None
    top_key: str | None = None
    best: int = 1


def valued_block(model: Parsed, place: Place, experts: int) -> Any:
    """The MoE block of a model's first layer with experts, in float32 with random values, its experts without any."""
    text = text_model(model.text, torch.float32)
    block = place.block_of(text)
    given_values(block, place.experts_of(text), experts)
    return block


def rule_of(block: Any, probe: Probe) -> str:
    """The name in routers.ROUTERS of the first rule that gives what the experts are given; ``hooked`` always does."""
    for name, call in CALLS.items():
        try:
            with torch.no_grad():
                logits, weights, indices = call(block, probe.x)
            if (
                logits.shape == probe.logits.shape
                and torch.equal(indices, probe.indices)
                and torch.allclose(weights.float(), probe.weights.float())
                and torch.allclose(logits.float(), probe.logits.float())
            ):
                return name
        except (*PROBED, AssertionError):
            continue
    return "hooked"


def scores_of(probe: Probe, plain: bool = False) -> str | None:
    """The name in SCORES of p(x): the weights are the selected scores, by a factor that is the same for a token.

    Args:
        probe: a decision. Tokens with a weight of 0, which selected a row without an expert (`beyond`), do not count.
        plain: the factor must be the same for all tokens, which tells also where each selects one expert.

    Returns:
        None where no function of the logits in SCORES has this property.
    """
    counted = (probe.weights != 0).all(1)
    weights, indices = probe.weights[counted].float(), probe.indices[counted]
    for name, score in SCORES.items():
        ratio = weights / score(probe.logits[counted]).gather(1, indices)
        middle = ratio.mean() if plain else ratio.mean(1, keepdim=True)
        if len(ratio) and bool(((ratio - middle).abs() <= CLOSE * middle.abs()).all()):
            return name
    return None


def groups_of(model: Parsed, place: Place, router: str, experts: int, top_k_key: str, scores: str) -> Groups:
    """The config keys that limit a token to groups of experts: the limit shows with 2 groups of which 1 is allowed.

    Args:
        model: shortened.
        place: of the experts.
        router: path of the module with the router's matrix.
        experts: N.
        top_k_key: config key of k.
        scores: a name in SCORES.
    """
    keys = [
        key for key, value in model.text.to_dict().items() if "group" in key and (value is None or type(value) is int)
    ]
    if experts % 2 or experts < 4:
        return Groups()

    def asked(groups: int, allowed: int) -> tuple[Any, Probe, Tensor]:
        """The block with so many groups, its decision, and whether each selected expert is in the upper half."""
        block = valued_block(model.changed(**{key: groups, top_key: allowed, top_k_key: 2}), place, experts)
        probe = probed(block, place, router, model.text.hidden_size)
        return block, probe, probe.indices >= experts // 2

    for key, top_key in permutations(keys, 2):
        try:
            block, probe, half = asked(2, 1)
            # The limit must go with each of the two keys: config.json may have it already, under other ones.
            if _limited(half) and not _limited(asked(1, 1)[2]) and not _limited(asked(2, 2)[2]):
                return Groups(key, top_key, _best(block, probe, half[:, 0], SCORES[scores], experts))
        except NotDerivableError:  # other keys with that word, such as of a state space
            continue
    return Groups()


def _limited(upper: Tensor) -> bool:
    """Whether every token selects two experts of the same half.

    Args:
        upper: [T, k], whether a selected expert is in the upper half.
    """
    return upper.shape[1] == 2 and bool((upper.all(1) | ~upper.any(1)).all())


def _best(block: Any, probe: Probe, upper: Tensor, score: Callable[[Tensor], Tensor], experts: int) -> int:
    """By how many of its best experts a group is scored, from which of two groups is taken."""
    biases: Mapping[str, Tensor] = {
        name: tensor
        for name, tensor in block.state_dict().items()
        if tensor.numel() == experts and tensor.is_floating_point() and not tensor.is_meta
    }
    choice = score(probe.logits) + sum(tensor.reshape(-1) for tensor in biases.values())
    for best in (1, 2):
        lower_sum, upper_sum = (part.topk(best, 1).values.sum(1) for part in choice.chunk(2, 1))
        if torch.equal(upper_sum > lower_sum, upper):
            return best
    raise NotDerivableError("its router scores groups of experts in a way that ream does not know")
