"""The model card: README.md of a compressed checkpoint, with a YAML header for the hub.

Names in a card come from strangers: a recipe's facts name its model, method, mix and sources. The template escapes each
for its place with one of the filters `text`, `code` and `shell`.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ream.core.recipe import Recipe
from ream.recipe.contents import CONTENTS, RECIPE

PACKAGE, TEMPLATE = "ream.recipe", "model_card.md.jinja"
SPECIAL = re.compile(r"[\\`*_\[\]<>#|~&]")  # characters that may mean something in Markdown


def model_card(
    recipe: Recipe,
    before: int,
    after: int,
    scores: Mapping[str, Any] | None,
    decoded: bool = False,
    dropped: bool = False,
    shard_gb: float | None = None,
    proof: str | None = None,
) -> str:
    """A compressed model's card: a header for the hub, what was done, and the scores where they are known.

    Args:
        recipe: by which the model was made.
        before: parameters of the original.
        after: parameters of this model.
        scores: evaluation of this very model, name to value.
        decoded: whether the original is quantised and this model is in bfloat16.
        dropped: whether the original's multi-token layers are left out.
        shard_gb: the shard size that `write_checkpoint` was given.
        proof: what was proved of a family that was derived (`Proof.lasting`).
    """
    layers = recipe.layers.values()
    environment = Environment(  # Markdown, not HTML: the filters below escape
        loader=PackageLoader(PACKAGE), autoescape=False, undefined=StrictUndefined,
        trim_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"text": text, "code": code, "shell": shell}
    return environment.get_template(TEMPLATE).render(
        header=_header(recipe, scores),
        facts=recipe.facts,
        merges=_merges(recipe),
        chosen=any(layer.neurons for layer in layers),
        corrected=sum(len(layer.corrections) for layer in layers),
        fitted=any(layer.corrected - {"down"} for layer in layers),
        choices=_choices(recipe),
        routed=any(layer.router is not None for layer in layers),
        before=before,
        after=after,
        scores=scores,
        decoded=decoded,
        dropped=dropped,
        shard_gb=shard_gb,
        proof=proof,
        recipe_file=RECIPE,
        contents_file=CONTENTS,
    )


def _header(recipe: Recipe, scores: Mapping[str, Any] | None) -> str:
    """The YAML block by which the hub files the model, with the method and mix under the key ``ream``."""
    from huggingface_hub import ModelCardData

    facts = recipe.facts
    keys = ("method", "mix", "ratios", "experts", "original_experts")
    made = {key: facts[key] for key in keys} | ({"scores": dict(scores)} if scores else {})
    return ModelCardData(
        base_model=facts["model"],
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["ream", "moe", "expert-merging" if _merges(recipe) else "expert-pruning"],
        ream=made,
    ).to_yaml()


def _choices(recipe: Recipe) -> list[dict[str, Any]]:
    """The candidate of each layer and the error that it leaves; empty where none were tried, or facts are strange."""
    choices, refits = [], recipe.facts.get("refit")
    layers = refits if isinstance(refits, dict) else {}
    for layer in sorted(layers, key=lambda name: (len(name), name)):  # as numbers
        told = layers[layer] if isinstance(layers[layer], dict) else {}
        choice = {key: told.get(key) for key in ("candidate", "left_held_out", "refitted")}
        if isinstance(choice["candidate"], str) and isinstance(choice["left_held_out"], float):
            choices.append({"layer": layer, **choice})
    return choices


def _merges(recipe: Recipe) -> bool:
    """Whether absorbed experts are merged into kept ones, rather than removed."""
    return any(len(layer.permutations) or len(layer.neurons) for layer in recipe.layers.values())


def text(value: object) -> str:
    """A value as Markdown text on one line, in which no character has a special meaning."""
    return SPECIAL.sub(r"\\\g<0>", " ".join(str(value).split()))


def code(value: object) -> str:
    """A value as a Markdown code span, fenced by more backticks than it has in a row."""
    line = " ".join(str(value).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"


def shell(value: object) -> str:
    """A value as one argument of a shell command, on one line."""
    return shlex.quote(" ".join(str(value).splitlines()))
