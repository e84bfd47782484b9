"""The tensors that a text model needs, by their names on disk: those of transformers' own code, without weights."""

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn

from ream.models.family.config_sizes import expert_hidden
from ream.models.family.family import Family
from ream.models.family.layout import Layout

# The name and shape of a tensor, and whether it is a matrix that formats quantise.
NeededTensor = tuple[str, tuple[int, ...], bool]


def skeleton(config: Any, dtype: torch.dtype, trust_remote_code: bool = False) -> Any:
    """Transformers' text model of a configuration, without its head and without weights, on torch's meta device.

    Args:
        config: of the text model (`model_config`).
        dtype: of the parameters that the model does not keep in another.
        trust_remote_code: let the model's own code run.
    """
    from transformers import MODEL_MAPPING, AutoModel

    from ream.models.family.derived.weightless import text_class

    auto: Any = AutoModel  # which has no types
    with torch.device("meta"):
        if trust_remote_code or type(config) in MODEL_MAPPING:
            return auto.from_config(config, dtype=dtype, trust_remote_code=trust_remote_code)
        return text_class(config)._from_config(config, dtype=dtype)


def text_tensors(
    model: Any, family: Family, numbers: Any, layout: Layout, quantise_linear: bool = False, known: Collection[int] = ()
) -> Iterator[NeededTensor]:
    """All tensors of the text model and of its multi-token layers, by their names on disk.

    Args:
        model: of `skeleton`; layers beyond those of ``numbers`` are multi-token layers.
        family: of the model.
        numbers: the text model's part of config.json.
        layout: in which experts lie.
        quantise_linear: whether the format quantises weights of Linear modules.
        known: indices of layers whose routed experts are left out.
    """
    decoder = model.get_submodule(family.decoder)
    vocabulary = tuple(model.get_input_embeddings().weight.shape)
    yield family.embedding, vocabulary, False
    for name, tensor in getattr(decoder, family.norm).state_dict().items() if family.norm else ():
        yield family.final_norm.removesuffix("weight") + name, tuple(tensor.shape), False
    if not model.config.tie_word_embeddings:
        yield family.head, vocabulary, False
    layers, extra = numbers["num_hidden_layers"], family.multi_token
    for index, layer in enumerate(decoder.layers):
        if index < layers or extra is None:
            prefix = family.layer_prefix.format(layer=index)
        else:
            prefix = extra.prefix.format(layer=index, index=index - layers)
            yield from _multi_token(family, prefix, vocabulary)
        inside = _tensors_of(layer, family)
        moe = {kind.name for kind in family.module_layout} <= {family.in_block(name) for name in inside}
        yield from _beside_experts(inside, prefix, family, moe, quantise_linear)
        if moe and index not in known:
            yield from _experts(prefix, family, numbers, layout)


def _tensors_of(layer: nn.Module, family: Family) -> dict[str, tuple[tuple[int, ...], bool]]:
    """Names within a layer in transformers, to shapes and whether it is the weight of a Linear module."""
    linear = {f"{name}.weight" for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    return {name: (tuple(tensor.shape), name in linear) for name, tensor in layer.state_dict().items()}


def _beside_experts(
    inside: dict[str, tuple[tuple[int, ...], bool]], prefix: str, family: Family, moe: bool, quantise_linear: bool
) -> Iterator[NeededTensor]:
    """The tensors of a layer without those of routed experts.

    Args:
        inside: of `_tensors_of`.
        prefix: start of the names of its tensors on disk.
        family: of the model.
        moe: whether the layer has routed experts.
        quantise_linear: whether the format quantises weights of Linear modules.
    """
    stacked = {kind.name for kind in family.module_layout}
    routers = {family.module_name(family.in_layer(router.name)) for router in family.router} if moe else set()
    for name, (shape, linear) in inside.items():
        if moe and family.in_block(name) in stacked:
            continue
        if name in family.halves:
            half = family.halves[name]
            yield prefix + half.stored, half.whole(shape), quantise_linear and linear
            continue
        stored = family.disk_names(name, moe)
        share = (shape[0] // len(stored), *shape[1:]) if len(stored) > 1 else shape
        for own in stored:
            yield prefix + own, share, quantise_linear and linear and name not in routers


def _experts(prefix: str, family: Family, numbers: Any, layout: Layout) -> Iterator[NeededTensor]:
    """The tensors of a layer's routed experts."""
    experts, hidden, width = family.experts(numbers), expert_hidden(numbers, family), numbers[family.width_key]
    for kind in layout:
        shape, matrix = kind.shape(hidden, width), not kind.part.endswith("bias")
        if kind.stacked:
            yield prefix + family.in_layer(kind.name), (experts, *shape), matrix
        else:
            for expert in range(experts + kind.beyond):
                yield prefix + family.in_layer(kind.name.format(expert=expert)), shape, matrix


def _multi_token(family: Family, prefix: str, vocabulary: tuple[int, ...]) -> Iterator[NeededTensor]:
    """The tensors that a multi-token layer has beside its decoder layer's."""
    extra = family.multi_token
    assert extra is not None
    hidden, start = vocabulary[1], prefix if extra.inside else ""
    for norm in (extra.embedding_norm, extra.hidden_norm, extra.output_norm):
        yield start + norm, (hidden,), False
    yield start + extra.projection, (hidden, 2 * hidden), False
    for shared in extra.shared:
        yield start + shared, vocabulary, False
