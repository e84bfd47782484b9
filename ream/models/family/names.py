"""Which tensors a checkpoint lacks or has too many, and how to say so; what names alone tell of the layers.

Names cannot tell what all layers lack, nor shapes: see `complete.check_complete` for that, which needs torch.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable

from ream.errors import UserError
from ream.models.family.family import Family
from ream.models.storage.checkpoint import Checkpoint

# Ends of the names of tensors that checkpoints may store and no layer needs: buffers that the modelling code computes,
# and the scales of a quantised cache of keys and values.
UNNEEDED = ("rotary_emb.inv_freq", ".k_scale", ".v_scale")
NAMED = 3  # tensors in a message
AGAIN = "fetch config.json and the shards of the same model again"


def check_names(checkpoint: Checkpoint, family: Family, layers: int, moe_layers: Collection[int]) -> None:
    """Refuse a checkpoint without embedding, final norm or head, and layers that differ in their tensors.

    Layers are alike if both have routed experts or neither has, and if both have linear attention or neither has.
    What at least half of the layers that are alike have, the others lack; anything else is too much.

    Args:
        checkpoint: whose names are compared; routed experts are `architecture_of`'s to check.
        family: of the model.
        layers: number of decoder layers by config.json.
        moe_layers: indices of layers with routed experts.

    Raises:
        UserError: tensors are missing or too many, or a layer is beyond those of config.json.
    """
    if family.multi_token is None and max(moe_layers) >= layers:
        raise UserError(
            f"{checkpoint.folder}: tensors of layer {max(moe_layers)} are beyond the {layers} layers of config.json "
            f"(num_hidden_layers); {AGAIN}"
        )
    outside = [family.embedding, family.final_norm]
    if not family.ties_head(checkpoint.config):
        outside.append(family.head)
    missing: list[str] = []
    surplus: list[str] = []
    if (
        not family.derived
    ):  # whose layers may be of several kinds; `complete.check_complete` compares them with the model
        missing, surplus = _differences(checkpoint.logical, family, layers, moe_layers)
    missing = [name for name in outside if name not in checkpoint.logical] + missing
    if missing:
        raise UserError(missing_tensors(checkpoint, family, missing))
    if surplus:
        raise UserError(surplus_tensors(checkpoint, family, surplus, "other layers like it have no such tensor"))


def missing_tensors(checkpoint: Checkpoint, family: Family, names: list[str]) -> str:
    """The message about tensors that the model needs and the checkpoint lacks."""
    what = "fetch it again"
    if family.head in names:
        where = "at the top of" if family.text is None or family.wrapped_head else f"under {family.text} in"
        what += f", or set tie_word_embeddings to true {where} config.json if the head is the embedding"
    return f"{checkpoint.folder}: missing {_listed(names, family)}; {what}"


def surplus_tensors(checkpoint: Checkpoint, family: Family, names: list[str], reason: str) -> str:
    """The message about tensors that the model has no use for."""
    return f"{checkpoint.folder}: unexpected {_listed(names, family)}: {reason}; {AGAIN}"


def _listed(names: list[str], family: Family) -> str:
    """Names of tensors, each with what it belongs to; of many, the first and how many more there are."""
    told = [f"{name} ({_owner(name, family)})" for name in names[:NAMED]]
    return ", ".join(told) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _owner(name: str, family: Family) -> str:
    """What a tensor belongs to."""
    named = {family.embedding: "the embedding", family.final_norm: "the final norm", family.head: "the head"}
    if name in named:
        return named[name]
    match, extra = _layer_pattern(family).match(name), family.multi_token
    if match is not None:
        return f"layer {match[1]}"
    return "multi-token layers" if extra and name.startswith(extra.prefix.partition(".")[0] + ".") else "no layer"


def _layer_pattern(family: Family) -> re.Pattern[str]:
    """A pattern of the starts of names within decoder layers, with a group for the number of the layer."""
    return re.compile(re.escape(family.layer_prefix).replace(r"\{layer\}", r"(\d+)"))


def _differences(
    names: Iterable[str], family: Family, layers: int, moe_layers: Collection[int]
) -> tuple[list[str], list[str]]:
    """Tensors that a layer lacks and layers like it have, and those that it has and they lack, without experts'."""
    pattern, routed = _layer_pattern(family), f"{family.moe}.experts."
    inside: dict[int, set[str]] = {layer: set() for layer in range(layers)}
    for name in names:
        match = pattern.match(name)
        if match is None or int(match[1]) not in inside or name.endswith(UNNEEDED):
            continue
        rest = name[match.end() :]
        if not rest.startswith(routed):
            inside[int(match[1])].add(rest)
    alike: dict[tuple[bool, bool], list[int]] = {}
    for layer, rests in inside.items():
        kind = (layer in moe_layers, any(rest.startswith("linear_attn.") for rest in rests))
        alike.setdefault(kind, []).append(layer)
    missing: list[str] = []
    surplus: list[str] = []
    for members in alike.values():
        counts = Counter(rest for layer in members for rest in inside[layer])
        for rest, count in sorted(counts.items()):
            needed = 2 * count >= len(members)
            prefixes = {layer: family.layer_prefix.format(layer=layer) for layer in members}
            missing += [prefixes[layer] + rest for layer in members if needed and rest not in inside[layer]]
            surplus += [prefixes[layer] + rest for layer in members if not needed and rest in inside[layer]]
    return missing, surplus
