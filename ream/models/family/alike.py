"""What the headers tell of a model without its modelling code: layers that are alike have the same tensors.

What all layers lack, or have in another shape, cannot be told like this: see `complete.check_complete`, which builds
the model and so needs torch and transformers.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from ream.errors import UserError
from ream.models.family.family import Family
from ream.models.family.names import AGAIN, UNNEEDED, layer_pattern, missing_tensors, surplus_tensors
from ream.models.quantization.parts import check_parts
from ream.models.storage.checkpoint import Checkpoint

INTEGERS = ("I64", "I32")  # of `Family.integers`
FLOATS = ("F64", "F32", "F16", "BF16")  # of tensors that are not quantised
Shapes = dict[str, tuple[int, ...]]  # name within a layer to shape


def check_layers(
    checkpoint: Checkpoint, family: Family, numbers: Mapping[str, Any], moe_layers: Collection[int]
) -> None:
    """Refuse a config.json whose layers are not those of the tensors: how many there are, and which have experts.

    Args:
        checkpoint: whose names are compared.
        family: of the model.
        numbers: the text model's part of config.json.
        moe_layers: indices of layers that have tensors of routed experts.

    Raises:
        UserError: names the key and the layer.
    """
    where, layers, extra = checkpoint.folder, numbers["num_hidden_layers"], family.multi_token
    matches = (layer_pattern(family).match(name) for name in checkpoint.logical if not name.endswith(UNNEEDED))
    there = {int(match[1]) for match in matches if match} | {layer for layer in moe_layers if layer < layers}
    own = extra.own if extra is not None and extra.inside else ()  # that tell a multi-token layer
    for layer in sorted(layer for layer in there if layer >= layers):
        prefix = family.layer_prefix.format(layer=layer)
        if not any(prefix + name in checkpoint.logical for name in own):
            why = f", and without {own[0]} it is not a multi-token layer" if own else ""
            raise UserError(
                f"{where}: tensors of layer {layer} are beyond the {layers} layers of config.json "
                f"(num_hidden_layers){why}; {AGAIN}"
            )
    for layer in range(layers):
        if layer not in there:
            raise UserError(
                f"{where}: missing layer {layer}, of which the checkpoint has no tensor, but config.json has "
                f"num_hidden_layers {layers}; {AGAIN}"
            )
    said = ", ".join(f"{key} {value}" for key, value in family.sparse.values(numbers).items())
    rule = f"config.json ({said or 'all layers of this family have them'})"
    expected = set(family.sparse.layers(numbers))
    for layer in range(layers):
        prefix = family.layer_prefix.format(layer=layer) + family.in_layer("")
        if layer in expected and layer not in moe_layers:
            raise UserError(
                f"{where}: missing the routed experts of layer {layer}, {prefix}experts, which {rule} calls for; "
                + AGAIN
            )
        if layer in moe_layers and layer not in expected:
            raise UserError(
                f"{where}: unexpected routed experts of layer {layer}, {prefix}experts, which {rule} makes a dense "
                f"layer; {AGAIN}"
            )


def check_alike(
    checkpoint: Checkpoint, family: Family, numbers: Mapping[str, Any], moe_layers: Collection[int]
) -> None:
    """Refuse a checkpoint without embedding, final norm or head, and layers that differ in their tensors.

    Layers are alike if both have routed experts or neither has, and if both have linear attention or neither has.
    What at least half of the layers that are alike have, the others lack; anything else is too much. A shape that
    fewer of them have is wrong.

    Args:
        checkpoint: whose headers are compared; routed experts are `architecture_of`'s to check.
        family: of the model.
        numbers: the text model's part of config.json.
        moe_layers: indices of layers with routed experts.

    Raises:
        UserError: tensors are missing or too many, or have another shape or dtype than they should.
    """
    hidden, vocabulary = numbers["hidden_size"], numbers["vocab_size"]
    outside = {family.embedding: (vocabulary, hidden), family.final_norm: (hidden,), family.head: (vocabulary, hidden)}
    outside.pop("", None)  # no norm behind the last layer
    tied = family.ties_head(checkpoint.config)
    # Of a derived family layers may be of several kinds; `complete.check_complete` compares them with the model.
    inside = {} if family.derived else _inside(checkpoint, family, numbers["num_hidden_layers"])
    missing, surplus, misshapen = _differences(inside, family, moe_layers)
    missing = [
        name for name in outside if name not in checkpoint.logical and not (tied and name == family.head)
    ] + missing
    if missing:
        raise UserError(missing_tensors(checkpoint, family, missing))
    if surplus:
        raise UserError(surplus_tensors(checkpoint, family, surplus, "other layers like it have no such tensor"))
    for name, shape in misshapen:
        raise UserError(
            f"{checkpoint.folder}: {name} has shape {list(checkpoint.shape(name))}, but other layers like it have "
            f"{list(shape)}; {AGAIN}"
        )
    for name, shape in outside.items():
        if name in checkpoint.logical and checkpoint.shape(name) != shape:
            raise UserError(
                f"{checkpoint.folder}: {name} has shape {list(checkpoint.shape(name))}, but config.json makes it "
                f"{list(shape)} (vocab_size {vocabulary}, hidden_size {hidden}); {AGAIN}"
            )


def check_stored(checkpoint: Checkpoint, family: Family) -> None:
    """Refuse tensors of the text model that are not floats, and quantised ones whose parts do not belong together.

    Raises:
        UserError: names the tensor, its dtype or shape, and what is needed.
    """
    form, text = checkpoint.form, tuple(family.text_prefixes)
    quantised = []
    for name, stored in checkpoint.logical.items():
        if checkpoint.quantised(name):
            quantised.append((name, checkpoint.headers_of(name)))
        elif name.startswith(text) and not name.endswith(UNNEEDED):
            dtype = checkpoint.tensors[stored[""]].dtype
            if dtype not in FLOATS and not (dtype in INTEGERS and name.endswith(family.integers)):
                raise UserError(
                    f"{checkpoint.folder}: {name} is {dtype}, but the model needs {', '.join(FLOATS)}, or scales and a "
                    f"quantization_config in config.json; {AGAIN}"
                )
    if form is not None:
        check_parts(form, quantised, str(checkpoint.folder))


def _inside(checkpoint: Checkpoint, family: Family, layers: int) -> dict[int, Shapes]:
    """The tensors of each decoder layer, without those of routed experts."""
    pattern, routed = layer_pattern(family), family.in_layer("experts.")
    inside: dict[int, Shapes] = {layer: {} for layer in range(layers)}
    for name in checkpoint.logical:
        match = pattern.match(name)
        if match is None or int(match[1]) not in inside or name.endswith(UNNEEDED):
            continue
        rest = name[match.end() :]
        if not rest.startswith(routed):
            inside[int(match[1])][rest] = checkpoint.shape(name)
    return inside


def _differences(
    inside: Mapping[int, Shapes], family: Family, moe_layers: Collection[int]
) -> tuple[list[str], list[str], list[tuple[str, tuple[int, ...]]]]:
    """Tensors that a layer lacks and layers like it have; those that it has and they lack; and wrong shapes.

    Returns:
        Names that are missing, names that are too many, and names with the shape that most layers have.
    """
    alike: dict[tuple[bool, bool], list[int]] = {}
    for layer, shapes in inside.items():
        kind = (layer in moe_layers, any(rest.startswith("linear_attn.") for rest in shapes))
        alike.setdefault(kind, []).append(layer)
    missing, surplus, misshapen = [], [], []
    for members in alike.values():
        counts = Counter(rest for layer in members for rest in inside[layer])
        for rest, count in sorted(counts.items()):
            needed = 2 * count >= len(members)
            prefixes = {layer: family.layer_prefix.format(layer=layer) for layer in members}
            missing += [prefixes[layer] + rest for layer in members if needed and rest not in inside[layer]]
            surplus += [prefixes[layer] + rest for layer in members if not needed and rest in inside[layer]]
            usual = Counter(inside[layer][rest] for layer in members if rest in inside[layer]).most_common(1)[0][0]
            misshapen += [
                (prefixes[layer] + rest, usual) for layer in members if inside[layer].get(rest, usual) != usual
            ]
    return missing, surplus, misshapen
