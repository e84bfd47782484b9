"""config.json of a compressed checkpoint: every key that counts experts says K, and nothing else changes."""

import json

import pytest

from ream.models.family.families import FAMILIES
from ream.recipe.config import compressed_config


def changed(family, kept, drop=False, **config):
    """The config that becomes of one, as a table."""
    return json.loads(compressed_config(json.dumps(config), FAMILIES[family], kept, drop))


def test_every_key_that_counts_experts_is_updated():
    assert changed("qwen3_moe", 5, num_experts=8, num_local_experts=8, x=[8]) == {
        "num_experts": 5, "num_local_experts": 5, "x": [8]
    }  # fmt: skip


def test_the_text_models_part_is_changed_where_there_is_one():
    parts = {"num_experts": 8, "text_config": {"x": 1, "num_experts": 8}, "vision_config": {"num_experts": 8}}
    after = changed("qwen3_5_moe", 5, **parts)
    assert after == parts | {"text_config": {"x": 1, "num_experts": 5}}
    assert (list(after), list(after["text_config"])) == (list(parts), ["x", "num_experts"])


@pytest.mark.parametrize(("drop", "left"), [(False, 2), (True, 0)])
def test_multi_token_layers_are_counted_unless_they_are_dropped(drop, left):
    assert changed("deepseek_v3", 4, drop, n_routed_experts=8, num_nextn_predict_layers=2) == {
        "n_routed_experts": 4, "num_nextn_predict_layers": left
    }  # fmt: skip
    assert changed("deepseek_v3", 4, drop, n_routed_experts=8) == {"n_routed_experts": 4}
    text = '{"n_routed_experts": 4, "num_nextn_predict_layers": 2}'
    assert compressed_config(text, FAMILIES["deepseek_v3"], 4) == text  # they stay unless it is said
    assert changed("mixtral", 4, drop, num_local_experts=8, num_nextn_predict_layers=2) == {
        "num_local_experts": 4, "num_nextn_predict_layers": 2
    }  # fmt: skip


@pytest.mark.parametrize("drop", [False, True])
def test_where_nothing_changes_the_text_stays_as_it_is(drop):
    text = '{"n_routed_experts":4,\n\n "num_nextn_predict_layers": 0}'
    assert compressed_config(text, FAMILIES["deepseek_v3"], 4, drop) == text
    for kept in (3, 5):
        assert json.loads(compressed_config(text, FAMILIES["deepseek_v3"], kept, drop))["n_routed_experts"] == kept


def test_it_is_written_as_transformers_writes_it():
    text = json.dumps({"num_experts": 8, "name": "é"})
    assert compressed_config(text, FAMILIES["qwen3_moe"], 5) == '{\n  "num_experts": 5,\n  "name": "é"\n}\n'
