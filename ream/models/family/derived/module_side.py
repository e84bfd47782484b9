"""What transformers' modules tell of a family: where its experts are, how they compute, how its router decides."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ream.models.family.beyond import Beyond
from ream.models.family.derived.additive import is_additive
from ream.models.family.derived.apart import placed
from ream.models.family.derived.around import Around, around_of, expert_hidden, latent_key
from ream.models.family.derived.beyond_rows import beyond_of
from ream.models.family.derived.decision import Groups, groups_of, rule_of, scores_of, valued_block
from ream.models.family.derived.experts_module import ExpertsModule, experts_module
from ream.models.family.derived.keys import (
    experts_in,
    experts_key,
    names_of,
    stacks_of,
    top_k_key,
    width_key,
    width_of,
    written_name,
)
from ream.models.family.derived.place import Place
from ream.models.family.derived.probe import Probe, probed
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.derived.router_tensors import ModuleRouter, exact_names, logits_module, router_tensors
from ream.models.family.derived.units import candidates
from ream.models.family.derived.weightless import Parsed, shortest, text_model


@dataclass(frozen=True)
class ModuleSide:
    """What the modules tell.

    Attributes:
        place: of the experts.
        experts: N.
        experts_keys: config keys of N, those that config.json has first.
        width_key: config key of D.
        latent_key: config key of the width of the experts' inputs, where that is not H.
        expert_hidden: that width; H for most models.
        around: what is between the block and its experts.
        top_k_key: config key of k.
        width: D.
        module: how the experts module is read.
        routers: the router's tensors in the block, the matrix first.
        logits: path within the block of the module that gives logits.
        beyond: what rows of the router stand for that have no expert.
        exact: names of those that stay in float32.
        rule: a name in routers.ROUTERS.
        scores: a name in routing.SCORES; None where p(x) is not known.
        groups: limits of the router to groups.
        pair: whether the block returns its output and something else.
        additive: whether the layer's output is a residual plus the block's output.
        shared: whether the block has other matrices than its router's and its experts'.
    """

    place: Place
    experts: int
    experts_keys: tuple[str, ...]
    width_key: str
    latent_key: str | None
    expert_hidden: int
    around: Around
    top_k_key: str
    width: int
    module: ExpertsModule
    routers: tuple[ModuleRouter, ...]
    logits: str
    beyond: Beyond | None
    exact: Collection[str]
    rule: str
    scores: str | None
    groups: Groups
    pair: bool
    additive: bool
    shared: bool


def module_side(model: Parsed, numbers: Mapping[str, Any]) -> ModuleSide:
    """Ask transformers' modules.

    Args:
        model: with all its layers.
        numbers: the text model's part of config.json.

    Raises:
        NotDerivableError: the model cannot be handled.
    """
    for key, value in model.text.to_dict().items():
        if "experts_per_tok" in key and value is None:
            raise NotDerivableError(f"config.json lacks {key}; add it with its value")
    short, text = shortest(model)
    place, hidden = placed(model, short, text), short.text.hidden_size
    stacks = stacks_of(place.experts_of(text))
    experts = experts_in(stacks)
    count_key, other = experts_key(short, place, experts)
    routers = router_tensors(text, other, place, experts)
    router = logits_module(short, place, routers[0].name)
    selected_key, inner = top_k_key(short, place, router), expert_hidden(short, place)
    width = width_of(stacks, inner)
    plain = place.experts_of(text_model(short.text, torch.float32))
    module = experts_module(plain, place.experts, inner, width, candidates(plain, numbers), experts)
    block, probe, scores = _decision(short, place, router, experts, selected_key)
    ask = partial(probed, block, place, router, hidden)
    beyond = beyond_of(block, routers, ask, experts, plain, inner)
    kept = {*(text._keep_in_fp32_modules or ()), *(text._keep_in_fp32_modules_strict or ())}
    return ModuleSide(
        place=place,
        experts=experts,
        experts_keys=_by_presence(names_of(short.text, count_key), numbers),
        width_key=written_name(short.text, width_key(short, place, inner), numbers),
        latent_key=latent_key(short, place, numbers),
        expert_hidden=inner,
        around=around_of(block, place, hidden),
        top_k_key=written_name(short.text, selected_key, numbers),
        width=width,
        module=module,
        routers=routers,
        logits=router,
        beyond=beyond,
        exact=exact_names(block, routers, kept, place.block_path, ask),
        rule=rule_of(block, probe),
        scores=scores,
        groups=groups_of(short, place, router, experts, selected_key, scores or "softmax"),
        pair=probe.pair,
        additive=is_additive(short, place, experts, probe.pair),
        shared=_has_more(block, place, routers),
    )


def _decision(short: Parsed, place: Place, router: str, experts: int, top_k_key: str) -> tuple[Any, Probe, str | None]:
    """The block with values, its decision, and its scores; where a token selects one expert, they show with two."""
    block = valued_block(short, place, experts)
    probe = probed(block, place, router, short.text.hidden_size)
    telling = probe
    if probe.indices.shape[1] == 1:
        try:
            two = short.changed(**{top_k_key: 2})
            telling = probed(valued_block(two, place, experts), place, router, short.text.hidden_size)
        except NotDerivableError:  # it selects one expert by design
            return block, probe, scores_of(probe, plain=True)
    return block, probe, scores_of(telling) or scores_of(_leveled(short, place, router, experts))


def _leveled(short: Parsed, place: Place, router: str, experts: int) -> Probe:
    """The decision of a block in which all experts have the same bias and the same scale (Gemma-4's)."""
    block = valued_block(short, place, experts)
    for name, tensor in block.named_parameters():
        if tensor.numel() == experts and not name.startswith(f"{place.experts}."):
            tensor.fill_(1.0)
    return probed(block, place, router, short.text.hidden_size)


def _by_presence(names: tuple[str, ...], numbers: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a key, those that config.json has first.

    Raises:
        NotDerivableError: it has none of them.
    """
    if not any(name in numbers for name in names):
        raise NotDerivableError(f"config.json lacks {names[0]}; add it with its value")
    return tuple(sorted(names, key=lambda name: name not in numbers))


def _has_more(block: Any, place: Place, routers: tuple[ModuleRouter, ...]) -> bool:
    """Whether a block has other matrices than its router's and its experts'."""
    known = {router.name for router in routers}
    return any(
        tensor.dim() == 2 and name not in known and not name.startswith(f"{place.experts}.")
        for name, tensor in block.named_parameters()
    )
