"""Layers without a MoE block, whose router and experts have different inputs: Gemma-4."""

import json
from dataclasses import replace

import pytest
import torch

from ream.models.family.derived.proof import prove
from ream.models.family.families import family_of
from ream.models.storage.checkpoint import Checkpoint
from tests.compress.walks import decoder_of, opened, sequences
from tests.models.any_moe import build, configuration
from tests.models.family.derived.test_any_moe import own
from tests.models.storage.test_checkpoint import refused

# As many layers as "float32" has letters, with two kinds of attention, keys that are values, and odd counts.
LIKE_PUBLISHED = {
    "num_hidden_layers": 7, "attention_k_eq_v": True, "num_global_key_value_heads": 1, "num_experts": 9,
    "top_k_experts": 3, "sliding_window": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return build("gemma4", tmp_path_factory.mktemp("apart") / "x", **LIKE_PUBLISHED)


def test_router_and_experts_are_found_beside_each_other(published):
    _, architecture = opened(published)
    family = architecture.family
    assert (family.apart.router, family.experts_module, family.block, family.moe) == ("router", "experts", "", "")
    assert [router.name for router in family.router] == ["router.proj.weight", "router.per_expert_scale"]
    assert not any(router.exact for router in family.router)  # a scale of each expert is no correction bias
    assert (family.scores, family.guessed_scores, family.additive) == ("softmax", False, False)


@torch.no_grad()
def test_layers_one_at_a_time_give_what_the_model_gives(published):
    decoder, model, seen = decoder_of(published), own(published), []
    last = model.model.language_model.layers[-1]
    last.register_forward_hook(lambda module, given, output: seen.append(output))
    for ids in sequences(3):
        model(input_ids=torch.tensor([ids]), use_cache=False)
        hidden = decoder.embed(torch.tensor([ids]))
        for index in range(decoder.architecture.layers):
            with decoder.layer(index) as layer:
                kept, x = layer(hidden)
                hidden = layer.leaving(kept, decoder.block(index)(x))
        torch.testing.assert_close(hidden, seen.pop(), rtol=1e-4, atol=5e-5)


def test_the_proof_fails_where_the_decision_is_misread(published):
    _, architecture = opened(published)
    wrong = replace(architecture.family.apart, handed=(1, 2))  # weights for indices
    family = replace(architecture.family, apart=wrong)
    other = Checkpoint(published)
    other.config["again"] = True  # proofs of the same checkpoint are remembered
    refused(lambda: prove(other, replace(architecture, family=family)), "derived but not understood")


def test_layers_that_share_keys_are_refused():
    config = json.loads(configuration("gemma4_text").to_json_string()) | {"num_kv_shared_layers": 1}
    refused(lambda: family_of(config, "somewhere"), "num_kv_shared_layers", "last 1 layers")
