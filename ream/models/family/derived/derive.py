"""The entry of a model family without one, derived from a config.json and the names and shapes of the tensors."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ream.models.family.config_levels import level
from ream.models.family.derived.alike import check_alike, check_own_keys
from ream.models.family.derived.conversion import written
from ream.models.family.derived.disk_blocks import all_routers, inside_experts, layout_of
from ream.models.family.derived.disk_names import DiskNames, disk_names
from ream.models.family.derived.module_side import ModuleSide, module_side
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.derived.weightless import Parsed, parsed, text_class, whole_model
from ream.models.family.family import HEAD, Family, RouterTensor
from ream.models.family.halves import Half
from ream.models.family.multi_token import multi_token_in
from ream.models.family.sparse_layers import these

# Numbers that are asked of config.json by these names.
NUMBERS = ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "max_position_embeddings")
JOINED = ("Concatenate along 0",)
HALVED = (("Interleave", "Chunk"), ("Chunk",))  # from a tensor with alternating rows, or with one above the other
Shapes = Mapping[str, tuple[int, ...]]
_DERIVED: dict[tuple[str, int], Family] = {}


def derive(config: Mapping[str, Any], shapes: Shapes | None = None) -> Family:
    """Derive the family of a checkpoint; of the same checkpoint once a process.

    Args:
        config: content of config.json.
        shapes: of the checkpoint's tensors by name; those that transformers would write where None.

    Raises:
        NotDerivableError: the model cannot be handled; says why in half a sentence.
    """
    import transformers

    key = json.dumps(config, sort_keys=True), hash(frozenset(shapes.items()) if shapes else None)
    if key not in _DERIVED:
        verbosity = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()  # it warns of values that only the probes have
        try:
            with torch.random.fork_rng(devices=[]):
                _DERIVED[key] = _derived(config, shapes)
        finally:
            transformers.logging.set_verbosity(verbosity)
    return _DERIVED[key]


def _derived(config: Mapping[str, Any], shapes: Shapes | None) -> Family:
    """See `derive`."""
    model = parsed(config)
    check_own_keys(model.text)
    modules = module_side(model, level(config, model.key))
    whole, text_path, text = _whole(model)
    with_experts = check_alike(text)
    known = written(whole) if shapes is None else shapes
    names = disk_names(whole, text_path, modules.place, known, model.text.hidden_size)
    layout, routers = layout_of(names, known, modules), all_routers(names, modules, text, with_experts)
    depth = _depth(text, modules.place.decoder)
    multi_token = multi_token_in(known, depth)
    moe = _common([kind.name for kind in layout] + [router.name for router in routers])
    return Family(
        model_type=str(config["model_type"]),
        examples=(),
        layouts=(tuple(replace(kind, name=_within(kind.name, moe)) for kind in layout),),
        router=tuple(replace(router, name=_within(router.name, moe)) for router in routers),
        moe=moe,
        logits_module=_logits_module(modules),
        placed=_placed(names, modules),
        renamed=_renamed(names, modules, routers, moe),
        joined=_joined(names),
        halves=_halves(names, modules),
        layer_prefix=names.prefix,
        embedding=names.embedding,
        final_norm=names.final_norm,
        text=model.key,
        text_prefixes=_text_prefixes(names, modules) if model.key else {"": ""},
        tied=bool(getattr(type(model.config)(), "tie_word_embeddings", False)),
        norm=names.norm,
        head_name=names.head,
        outside=names.outside,
        integers=names.integers,
        multi_token=multi_token,
        unwalked=() if multi_token else _unwalked(names),
        sparse=these(with_experts),
        assumed=_assumed(model.text, level(config, model.key), depth),
        derived=True,
        **_of_modules(modules),
    )


def _of_modules(modules: ModuleSide) -> dict[str, Any]:
    """The fields of a family that transformers' modules decide alone."""
    return {
        "experts_keys": modules.experts_keys,
        "width_key": modules.width_key,
        "latent_key": modules.latent_key,
        "changes_inputs": modules.around.inputs,
        "changes_outputs": modules.around.outputs,
        "top_k_key": modules.top_k_key,
        "scores": modules.scores or "softmax",
        "rule": modules.rule,
        "router_groups_key": modules.groups.key,
        "router_top_groups_key": modules.groups.top_key,
        "router_group_best": modules.groups.best,
        "block": modules.place.block,
        "apart": modules.place.apart,
        "by_ids": modules.place.by_ids,
        "state": modules.place.state,
        "beyond": modules.beyond,
        "experts_module": modules.place.experts,
        "module_layout": modules.module.layout,
        "pair": modules.pair,
        "unit": modules.module.unit,
        "shared": modules.shared,
        "additive": modules.additive,
        "decoder": modules.place.decoder,
        "guessed_scores": modules.scores is None,
    }


def _depth(text: nn.Module, decoder: str) -> int:
    """The number of decoder layers that the model has; LongCat's config counts twice as many."""
    return len(list(text.get_submodule(f"{decoder}.layers".lstrip(".")).children()))


def _logits_module(modules: ModuleSide) -> str | None:
    """The module that gives logits, where it is not that with the router's matrix."""
    return None if modules.logits == modules.routers[0].name.rpartition(".")[0] else modules.logits


def _assumed(text: Any, numbers: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """Numbers that config.json lacks or has under other names, as transformers takes them; of layers, the largest."""
    layers = list(text.per_layer_config) if getattr(text, "is_heterogeneous", False) else [text]
    found = {key: [getattr(layer, key) for layer in layers if hasattr(layer, key)] for key in NUMBERS}
    known = {key: max(values) for key, values in found.items() if values} | {"num_hidden_layers": depth}
    return {key: value for key, value in known.items() if key not in numbers}


def _unwalked(names: DiskNames) -> tuple[str, ...]:
    """The first words of names of routed experts that transformers' model does not have."""
    words = [name.split(".") for name in names.unknown]
    return tuple(dict.fromkeys(f"{first}." for first, *rest in words if "experts" in rest))


def _whole(model: Parsed) -> tuple[nn.Module, str, nn.Module]:
    """The whole model without weights, the path of the text model in it, and the text model."""
    whole = whole_model(model.config)
    path = _text_path(whole, model)
    return whole, path, whole.get_submodule(path)


def _text_path(whole: nn.Module, model: Parsed) -> str:
    """The path of the text model in the whole model.

    Raises:
        NotDerivableError: the model has none, or two.
    """
    kind = text_class(model.text)
    paths: list[str] = [path for path, module in whole.named_modules() if type(module) is kind]
    if len(paths) != 1:
        raise NotDerivableError(
            f"{type(whole).__name__} has {len(paths)} text models of class {kind.__name__}, not one"
        )
    return paths[0]


def _placed(names: DiskNames, modules: ModuleSide) -> dict[str, str]:
    """Names within a layer on disk of tensors beside the experts that have another name in the module, to that name.

    Raises:
        NotDerivableError: a tensor beside the experts is not only renamed.
    """
    experts, result = inside_experts(names, modules), {}
    for name, place in names.inside.items():
        if name in experts or place.operations == JOINED or place.operations in HALVED:
            continue
        if place.operations:
            raise NotDerivableError(f"{name} of a layer is converted on loading ({', '.join(place.operations)})")
        if place.name != name:
            result[name] = place.name
    return result


def _renamed(names: DiskNames, modules: ModuleSide, routers: list[RouterTensor], moe: str) -> dict[str, str]:
    """Names within the MoE block on disk of the router's tensors that have another name in the module, to that name."""
    block = modules.place.start
    both = {_within(router.name, moe): names.inside[router.name].name.removeprefix(block) for router in routers}
    return {stored: own for stored, own in both.items() if stored != own}


def _joined(names: DiskNames) -> dict[str, tuple[str, ...]]:
    """Tensors of a layer that are joined of several on disk, to the names of these in order."""
    found: dict[str, list[tuple[int, list[int], str]]] = {}
    for name, place in names.inside.items():
        if place.operations == JOINED:
            numbers = [int(digits) for digits in re.findall(r"\d+", name)]  # of parts that differ in a number alone
            found.setdefault(place.name, []).append((place.position, numbers, name))
    return {target: tuple(name for _, _, name in sorted(parts)) for target, parts in found.items()}


def _halves(names: DiskNames, modules: ModuleSide) -> dict[str, Half]:
    """Tensors of a layer beside the experts that are halves of one on disk.

    Raises:
        NotDerivableError: one on disk is split into more than two.
    """
    experts, found = inside_experts(names, modules), dict[str, Half]()
    for name, place in names.inside.items():
        if name in experts or place.operations not in HALVED:
            continue
        if not place.second:
            raise NotDerivableError(f"{name} of a layer is split into more than two on loading")
        for second, target in enumerate((place.name, place.second)):
            found[target] = Half(name, place.axis, bool(second), place.operations == HALVED[0])
    return found


def _text_prefixes(names: DiskNames, modules: ModuleSide) -> dict[str, str]:
    """Starts of the names of the text model's tensors in a wrapper, to those in transformers' text-only model."""
    inner = f"model.{modules.place.decoder}." if modules.place.decoder else "model."
    if names.head is None:
        raise NotDerivableError("transformers has no language model head for it")
    prefixes = {names.prefix.partition("layers.")[0]: inner}
    return prefixes | {names.head.removesuffix("weight"): HEAD.removesuffix("weight")}


def _common(names: list[str]) -> str:
    """The words with which all names begin."""
    words = [name.split(".")[:-1] for name in names]
    shared = []
    for same in zip(*words, strict=False):
        if len(set(same)) > 1 or same[0] == "experts" or "{" in same[0]:
            break
        shared.append(same[0])
    return ".".join(shared)


def _within(name: str, start: str) -> str:
    """A name without its first words."""
    return name.removeprefix(f"{start}.") if start else name
