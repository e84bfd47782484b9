"""Which layers have experts by config.json: the rules against the modelling code of transformers, for every family."""

import pytest
import torch
import transformers

from ream.models.family.families import FAMILIES
from ream.models.family.needed import skeleton
from tests.models.families import COMMON, TINY

LAYERS = 7
VALUES = {
    "mlp_only_layers": [[], [0], [2, 6]], "decoder_sparse_step": [1, 2, 3], "first_k_dense_replace": [0, 1, 3],
    "moe_layer_start_index": [0, 1, 3], "moe_layer_end_index": [-1, 4], "moe_layer_interval": [1, 2],
    "moe_layers": [None, [1, 4], []], "interleave_moe_layer_step": [1, 2, 3],
}  # fmt: skip


def with_experts(family, values):
    """Indices of the layers whose blocks have routed experts in transformers."""
    tiny, entry = TINY[family], FAMILIES[family]
    types = {"layer_types": ["full_attention"] * LAYERS} if "layer_types" in tiny.values else {}
    text = COMMON | tiny.values | {"num_hidden_layers": LAYERS} | types | values
    for key in entry.sparse.defaults.keys() - values.keys():
        text.pop(key, None)
    made = getattr(transformers, tiny.config)
    config = made(**text) if tiny.vision is None else made(text_config=text, vision_config=tiny.vision).text_config
    blocks = (getattr(layer, entry.block) for layer in skeleton(config, torch.bfloat16).layers)
    return [index for index, block in enumerate(blocks) if hasattr(block, "experts")]


@pytest.mark.parametrize("family", TINY)
def test_the_rules_are_those_of_transformers(family):
    rule = FAMILIES[family].sparse
    cases = [{}] + [{key: value} for key in rule.defaults for value in VALUES[key]]
    cases += [{key: VALUES[key][-1] for key in rule.defaults}] if family != "llama4" else []
    for values in cases:
        numbers = values | {"num_hidden_layers": LAYERS}
        assert rule.layers(numbers) == with_experts(family, values), values


def test_by_hand():
    step = FAMILIES["qwen3_moe"].sparse
    # of layers 0 to 5, every second from 1 on, and not 3
    assert step.layers({"num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [3]}) == [1, 5]
    assert step.values({"mlp_only_layers": None}) == {"mlp_only_layers": [], "decoder_sparse_step": 1}
