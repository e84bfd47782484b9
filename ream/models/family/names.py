"""How to say which tensors a checkpoint lacks or has too many."""

import re

from ream.models.family.family import Family
from ream.models.storage.checkpoint import Checkpoint

# Ends of the names of tensors that checkpoints may store and no layer needs: buffers that the modelling code computes,
# and the scales of a quantised cache of keys and values.
UNNEEDED = ("rotary_emb.inv_freq", ".k_scale", ".v_scale")
NAMED = 3  # tensors in a message
AGAIN = "fetch config.json and the shards of the same model again"


def shapes_of(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors of the model by name."""
    return {name: checkpoint.shape(name) for name in checkpoint.logical}


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
    match, extra = layer_pattern(family).match(name), family.multi_token
    if match is not None:
        return f"layer {match[1]}"
    return "multi-token layers" if extra and name.startswith(extra.prefix.partition(".")[0] + ".") else "no layer"


def layer_pattern(family: Family) -> re.Pattern[str]:
    """A pattern of the starts of names within decoder layers, with a group for the number of the layer."""
    return re.compile(re.escape(family.layer_prefix).replace(r"\{layer\}", r"([0-9]{1,9})"))
