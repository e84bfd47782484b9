"""The model card: a header that the hub reads, every fact about the model, and nothing that a name could inject."""

import html
import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from ream.core.recipe import Recipe
from ream.recipe.card import code, model_card, shell, text
from ream.recipe.contents import RECIPE
from tests.compress.walks import corrected, opened, random_recipe
from tests.tiny import EXPERTS

KEPT = 3


@pytest.fixture
def recipe(checkpoint):
    return random_recipe(opened(checkpoint)[1], KEPT)


def parsed(card):
    """(header, text) of a card, as any reader of YAML sees it."""
    header, body = card.removeprefix("---\n").split("\n---\n", 1)
    return yaml.safe_load(header), body


@pytest.mark.parametrize("merge", [True, False])
def test_header_and_text(merge, checkpoint):
    recipe = random_recipe(opened(checkpoint)[1], KEPT, merge=merge)
    card = model_card(recipe, 12_345, 6_789, {"held-out loss": 2.5, "mc": 0.25})
    header, body = parsed(card)
    assert header == {
        "base_model": "tiny",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["ream", "moe", "expert-merging" if merge else "expert-pruning"],
        "ream": {
            "method": "by-lot", "mix": "half", "ratios": {"a": 0.5, "b": 0.5}, "experts": KEPT,
            "original_experts": EXPERTS, "scores": {"held-out loss": 2.5, "mc": 0.25},
        },
    }  # fmt: skip
    assert ModelCard(card).data.to_dict() == header
    done = "merged into" if merge else "removed, leaving"
    assert f"were {done} 3 by the method `by-lot` of [REAM](https://arxiv.org/abs/2604.04356), without" in body
    for line in (
        "# tiny with 3 of 8 experts",
        "All other tensors are the original's, byte for byte.",
        "| routed experts a layer | 8 | 3 |",
        "| parameters | 12,345 | 6,789 |",
        "Calibration mix `half`: a 0.50, b 0.50; sequences of 24 tokens, seed 0.",
        "| held-out loss | mc |",
        "| --- | --- |",
        "| 2.500 | 0.250 |",
        "ream apply tiny ream/recipe.ream OUT",
        "Made by ream 0; the original's shards have digest `d`.",
    ):
        assert f"\n{line}\n" in body, line
    assert "(kept experts, groups, merge weights, permutations)" in body
    assert "(`ream.json`" in body or "(ream.json" in body
    assert not re.search("multi-token|refit|goes beyond|quantised|neurons of", body)
    assert "\n\n\n" not in body
    assert body.endswith(".\n")


def test_without_scores_there_is_no_table_of_them(recipe):
    header, body = parsed(model_card(recipe, 2, 1, None))
    assert "scores" not in header["ream"]
    assert body.count("| --- ") == 3  # the table of sizes
    assert "\n\n\n" not in body


def test_options_that_make_the_checkpoint_again(recipe):
    def command(**options):
        return re.search("^ream apply .*$", model_card(recipe, 2, 1, None, **options), re.M)[0]

    usual = "ream apply tiny ream/recipe.ream OUT"
    assert command() == usual
    assert command(decoded=True) == f"{usual} --merge-dtype bfloat16"
    assert command(shard_gb=2.5) == f"{usual} --shard-size 2.5"
    assert command(shard_gb=5.0, decoded=True) == f"{usual} --merge-dtype bfloat16 --shard-size 5"
    assert "decoded to bfloat16." in model_card(recipe, 2, 1, None, decoded=True)
    assert "multi-token prediction are left out." in model_card(recipe, 2, 1, None, dropped=True)


def test_refits_and_chosen_neurons_are_named(recipe, checkpoint):
    architecture = opened(checkpoint)[1]
    down = model_card(corrected(recipe, architecture), 2, 1, None)
    assert "down projections of 6 kept experts were refitted" in down
    assert "fitted further" not in down
    assert ", permutations, refitted down projections)" in down
    assert "fitted further" in model_card(corrected(recipe, architecture, parts=("down", "gate", "up")), 2, 1, None)
    chosen = {index: replace(layer, neurons={0: np.arange(8)}) for index, layer in recipe.layers.items()}
    card = model_card(Recipe(chosen, recipe.facts), 2, 1, None)
    assert "consists of the neurons" in card
    assert ", merge weights, chosen neurons)" in card
    assert all("by-lot` of ream, which goes beyond the paper on [REAM]" in each for each in (down, card))
    assert parsed(card)[0]["tags"][2] == "expert-merging"


def test_the_choice_of_each_layer_is_a_table_in_the_order_of_layers(recipe):
    told = {"candidate": "ean", "refitted": True, "left_held_out": 0.25, "ridge": 0.1}
    refits = {"10": told, "2": {**told, "candidate": "reap", "refitted": False, "left_held_out": 1.0}, "3": "?"}
    card = model_card(Recipe(recipe.layers, {**recipe.facts, "refit": refits}), 2, 1, None)
    rows = "| layer | candidate | error left of pruning alone |\n| --- | --- | --- |\n"
    assert rows + "| 2 | reap, not refitted | 1.000 |\n| 10 | ean | 0.250 |\n\n" in card
    for strange in ("?", {"2": {"candidate": 3, "left_held_out": 0.5}}, {"2": {"candidate": "x"}}):
        card = model_card(Recipe(recipe.layers, {**recipe.facts, "refit": strange}), 2, 1, None)
        assert "| layer | candidate" not in card


def test_fitted_router_rows_are_named(recipe):
    rows = {index: replace(layer, router=np.zeros((3, 16), dtype=np.float32)) for index, layer in recipe.layers.items()}
    card = model_card(Recipe(rows, recipe.facts), 2, 1, None)
    assert "The rows of the routers were fitted by least squares" in card
    assert ", permutations, router rows)" in card
    assert "router rows" not in model_card(recipe, 2, 1, None)


HOSTILE = "a\n---\nb: [x](http://y) `c` ``` | <script>*_#&~ $(rm) 'q' \"\\ é"


def test_names_from_strangers_stay_what_they_are(recipe):
    facts = {**recipe.facts} | dict.fromkeys(("model", "method", "mix", "ream", "digest"), HOSTILE)
    facts["ratios"] = {HOSTILE: 1.0}
    facts["refit"] = {HOSTILE: {"candidate": HOSTILE, "left_held_out": 0.5}}
    card = model_card(Recipe(recipe.layers, facts), 2, 1, {HOSTILE: 1.0})
    header, body = parsed(card)
    assert ModelCard(card).data.to_dict() == header
    assert header["base_model"] == header["ream"]["method"] == header["ream"]["mix"] == HOSTILE
    assert header["ream"]["ratios"] == header["ream"]["scores"] == {HOSTILE: 1.0}
    shown = MarkdownIt("commonmark").enable("table").render(body)  # Markdown as any reader of it sees it
    line = html.escape(" ".join(HOSTILE.split()), quote=True).replace("&#x27;", "'")
    assert f"<h1>{line} with 3 of 8 experts</h1>" in shown
    assert f"by the method <code>{line}</code> of" in shown
    assert f"Calibration mix <code>{line}</code>: {line} 1.00; sequences" in shown
    assert f"<th>{line}</th>" in shown
    assert f"<td>{line}</td>\n<td>{line}, not refitted</td>" in shown
    assert f"Made by ream {line}; the original's shards have digest <code>{line}</code>." in shown
    assert re.findall("href=[^>]*", shown) == ['href="https://arxiv.org/abs/2604.04356"']
    assert "<script" not in shown
    (command,) = re.findall("(?s)<pre><code>(.*?)</code></pre>", shown)
    assert shlex.split(html.unescape(command)) == ["ream", "apply", " ".join(HOSTILE.split("\n")), RECIPE, "OUT"]


def test_a_name_is_escaped_for_its_place():
    assert text("Qwen/Qwen3-30B-A3B @ main") == "Qwen/Qwen3-30B-A3B @ main"
    assert text("a|b\n#_*`<x>[y]\\&~") == r"a\|b \#\_\*\`\<x\>\[y\]\\\&\~"
    assert (text(3), code(0.5)) == ("3", "`0.5`")
    assert code("plain\nname") == "`plain name`"
    assert code("a`b") == "`` a`b ``"
    assert code("``a`") == "``` ``a` ```"
    assert shell("owner/name@v1") == "owner/name@v1"
    assert shell("a b; rm -r $HOME") == "'a b; rm -r $HOME'"
    assert "\n" not in shell("a\nrm")
