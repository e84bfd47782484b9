"""config.json of a compressed checkpoint: every key that counts experts says K, and nothing else changes."""

import json

from ream.models.family.families import FAMILIES
from ream.recipe.config import compressed_config


def test_every_key_that_counts_experts_is_updated():
    text = json.dumps({"num_experts": 8, "num_local_experts": 8, "x": [8]})
    assert json.loads(compressed_config(text, FAMILIES["qwen3_moe"], 5)) == {
        "num_experts": 5, "num_local_experts": 5, "x": [8]
    }  # fmt: skip
