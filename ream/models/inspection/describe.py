"""Describing a model: the numbers of a known family, or what an entry for an unknown family must contain."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ream.machine.units import bytes_shown
from ream.models.family.family import Family, RouterTensor
from ream.models.family.layout import INTERLEAVED, NUMBERED, PER_EXPERT, STACKED, TRANSPOSED, Layout
from ream.models.inspection.headers import Headers

LAYOUTS: dict[Layout, str] = {
    PER_EXPERT: "one tensor for each expert and projection (gate_proj, up_proj, down_proj)",
    NUMBERED: "one tensor for each expert and projection (w1, w3, w2)",
    STACKED: "all experts stacked",
    TRANSPOSED: "all experts stacked, transposed",
    INTERLEAVED: "all experts stacked, transposed, with alternating gate and up rows, with biases",
}
SHOWN = 3  # renamed tensors
TELLING = re.compile(r"expert|gate|router|moe", re.IGNORECASE)  # names of tensors that an entry may name
COUNTS = re.compile(r"expert|moe|top_?k|group|shared", re.IGNORECASE)  # config keys that an entry may name


def described(model: Headers, name: str) -> dict[str, str]:
    """The rows of a model's description, name to value, for people.

    Args:
        model: of a known family.
        name: that the user gave for the model.
    """
    architecture, parts, checkpoint = model.architecture, model.parts, model.checkpoint
    family, experts = architecture.family, architecture.experts
    moe = [index for index in architecture.moe_layers if index < architecture.layers]
    shared = sum(layer.shared.parameters for layer in parts.layers)
    groups, extra = architecture.router_groups, architecture.multi_token
    size = bytes_shown(parts.all.bytes)
    rows = {
        "model": name + (f" @ {model.revision}" if model.revision else ""),
        "read": "config.json alone; names and sizes are from transformers' model code"
        if model.planned
        else "config.json and the headers of its shards",
        "family": family.model_type
        + (", derived from the checkpoint and transformers' code" if family.derived else ""),
        "layers": f"{architecture.layers}, {len(moe)} of them with routed experts",
        "multi-token layers": f"{extra}, also with routed experts" if extra else _no_multi_token(model),
        "experts": f"{experts} per layer, {architecture.top_k} active per token",
        "shared experts": f"{shared:,} parameters; left unchanged" if shared else "none",
        "router": f"{family.scores}, called by the rule '{family.rule}'",
        "router groups": f"{groups}; a token uses at most {architecture.router_top_groups}" if groups > 1 else "none",
        "expert shape": f"hidden {architecture.expert_hidden}, width {architecture.width}"
        + ("" if "gate" in architecture.projections else ", no gate"),
        "experts on disk": f"{layout_words(architecture.layout)}; {_dtypes(model)}",
        "quantisation": "none" if checkpoint.form is None else type(checkpoint.form).__name__,
        "parameters": f"{parts.all.parameters:,}"
        + (f", {parts.vision.parameters:,} of them outside the text model" if parts.vision.parameters else ""),
        "active": f"{parts.active(architecture, experts):,} per token, including the embedding and the head",
        "in experts": f"{parts.experts.parameters:,} ({parts.experts.parameters / parts.all.parameters:.0%}): what can "
        "be compressed",
        "shards": f"none in this folder; {size} according to config.json"
        if model.planned
        else f"{len(checkpoint.shards)}, {size}",
    }
    rows |= derived_rows(model) if family.derived else {}
    return rows if model.planned else rows | {"digest": checkpoint.digest()}


def layout_words(layout: Layout) -> str:
    """How experts lie on disk, in words."""
    if layout in LAYOUTS:
        return LAYOUTS[layout]
    stacked = "all experts stacked" if layout[0].stacked else "one tensor for each expert and projection"
    ways = {
        "transposed": any(kind.transposed for kind in layout),
        "with alternating gate and up rows": any(kind.interleaved for kind in layout),
        "with biases": any(kind.part.endswith("bias") for kind in layout),
        "with tensors behind them that nothing reads": any(kind.beyond for kind in layout),
    }
    names = f"({', '.join(kind.name for kind in layout)})"
    return ", ".join([stacked, *(way for way, used in ways.items() if used), names])


def derived_rows(model: Headers) -> dict[str, str]:
    """What was derived of a family, and whether it was proved."""
    family = model.architecture.family
    rows = {
        "config keys": f"{' and '.join(family.experts_keys)} count experts, {family.top_k_key} selected ones, "
        f"{family.width_key} neurons",
        "MoE block": f"{family.layer_prefix}{family.in_layer('')} on disk, {family.block} in transformers"
        if family.apart is None
        else f"none, {family.apart.router} and {family.experts_module} lie in the layer",
        "router tensors": ", ".join(map(_router_tensor, family.router)),
        "unit": family.unit,
        "layer": "a residual plus the MoE block's output"
        if family.additive
        else "not a residual plus the block's output",
    }
    renamed = dict(family.placed)
    renamed |= {
        " + ".join(parts if len(parts) <= SHOWN else (parts[0], "…", parts[-1])): own
        for own, parts in family.joined.items()
    }
    if renamed:
        shown = [f"{stored} to {own}" for stored, own in list(renamed.items())[:SHOWN]]
        more = f" and {len(renamed) - SHOWN} more" if len(renamed) > SHOWN else ""
        rows["renamed on loading"] = ", ".join(shown) + more
    if family.beyond is not None:
        meaning = "the identity" if family.beyond.identity else "no expert at all"
        rows["other rows"] = f"{family.beyond.rows} of the router, which stand for {meaning} and stay"
    if family.state:
        rows["router state"] = f"{family.state} values of each token go from a layer's router to the next layer's"
    if family.guessed_scores:
        rows["scores"] = "p(x) is no known function of the logits; softmax stands in for it"
    proved = "not possible without weights" if model.planned else "made when a run starts, on the weights of a layer"
    return rows | {"proof": str(model.proof) if model.proof else proved}


def _no_multi_token(model: Headers) -> str:
    """That there are none; with a caveat where only config.json is known, for some checkpoints have them uncounted."""
    family = model.architecture.family
    if family.unwalked:
        return f"{family.unwalked[0]}*, in a form that ream cannot run; leave them out: model.multi_token: drop"
    return "none" + (" counted in config.json" if model.planned and family.multi_token else "")


def _router_tensor(tensor: RouterTensor) -> str:
    """The name of a router's tensor, and what is special about it."""
    notes = {
        "float32": tensor.exact,
        f"axis {tensor.axis}": tensor.axis,
        "expert numbers by token id": tensor.numbers,
        "of some layers": tensor.some,
        f"{tensor.beyond} entries stand for no expert": tensor.beyond,
    }
    told = ", ".join(note for note, holds in notes.items() if holds)
    return f"{tensor.name} ({told})" if told else tensor.name


def _dtypes(model: Headers) -> str:
    """The dtypes in which experts are stored."""
    headers = model.checkpoint.headers_of(model.architecture.an_expert_tensor)
    return ", ".join(dict.fromkeys(info.dtype for info in headers.values()))


def unknown_family(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...] | None]) -> dict[str, str]:
    """The rows of a description of a model without an entry: what there is, and what an entry must contain.

    Args:
        config: content of config.json.
        shapes: shapes of all tensors by name; None where only the name is known.
    """
    rows = {"model_type": str(config.get("model_type", "(none)"))}
    rows |= {f"config: {key}": str(value) for key, value in _numbers(config)}
    rows |= {f"tensors: {pattern}": text for pattern, text in patterns(shapes).items()}
    return rows | {f"Family.{name}": meaning for name, meaning in field_meanings(Family).items()}


def _numbers(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, int]]:
    """Keys of a config, nested ones with dots, that seem to count experts, groups and the like, with their values."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int) and not isinstance(value, bool) and COUNTS.search(key):
            yield f"{prefix}{key}", value


def patterns(shapes: Mapping[str, tuple[int, ...] | None]) -> dict[str, str]:
    """Patterns of the names of expert, gate and router tensors, with {n} for numbers, to their count and shapes.

    Args:
        shapes: shapes by name; None where only the name is known.
    """
    shapes_by_pattern: dict[str, list[tuple[int, ...] | None]] = {}
    for name, shape in shapes.items():
        if TELLING.search(name):
            shapes_by_pattern.setdefault(re.sub(r"(?<![^.])\d+(?![^.])", "{n}", name), []).append(shape)
    result = {}
    for pattern, members in shapes_by_pattern.items():
        known = list(dict.fromkeys(str(list(shape)) for shape in members if shape is not None))
        more = f" and {len(known) - 1} other shapes" if len(known) > 1 else ""
        result[pattern] = f"{len(members)}" + (f" of {known[0]}{more}" if known else "")
    return result


def field_meanings(described: type) -> dict[str, str]:
    """What a dataclass's docstring says of its fields under "Attributes:", by field.

    An entry there is ``name: meaning`` or ``first, second: meaning``; several may share a paragraph.
    """
    names = [field.name for field in fields(described)]
    text = (described.__doc__ or "").split("Attributes:", 1)[1]
    text = " ".join(text.split())
    listed = "|".join(sorted(names, key=len, reverse=True))
    starts = list(re.finditer(rf"(?<![\w.])((?:{listed})(?:, (?:{listed}))*): ", text))
    result: dict[str, str] = {}
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        meaning = text[start.end() : following.start() if following else None].strip().rstrip(".;")
        result |= dict.fromkeys(start.group(1).split(", "), meaning)
    return {name: result[name] for name in names if name in result}
