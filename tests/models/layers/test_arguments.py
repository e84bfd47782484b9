"""Layers called by themselves give what the model's own forward gives, whatever stands around the MoE block."""

import copy

import pytest
import torch
import transformers

from ream.errors import UserError
from ream.models.layers.arguments import LayerArguments, stream_of
from ream.models.layers.loaded import Catcher, LoadedLayer

HIDDEN, LAYERS, TOKENS = 16, 3, 9
COMMON = {
    "vocab_size": 96, "hidden_size": HIDDEN, "intermediate_size": 12, "moe_intermediate_size": 8,
    "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0,
    "max_position_embeddings": 64,
}  # fmt: skip
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
FACTORS = {
    f"{part}_{factor}_factor": value
    for part in ("full_attn", "linear_attn", "mlp")
    for factor, value in (("alpha", 1.5), ("beta", 0.7))
}
# Class of the model, its configuration, the path of its MoE block, and whether a layer is a residual plus the block.
MODELS = {
    "residual": ("Qwen2Moe", {"num_experts": 4, "shared_expert_intermediate_size": 8}, "mlp", True),
    "norm behind": ("FlexOlmo", {"num_experts": 4, "num_experts_per_tok": 2}, "mlp", False),
    "factor": (
        "GraniteMoe", {"num_local_experts": 4, "residual_multiplier": 0.5, "embedding_multiplier": 3.0},
        "block_sparse_moe", False,
    ),
    "two factors": (
        "MiniMax", {"num_local_experts": 4, "block_size": 4, **FACTORS,
                    "layer_types": ["full_attention", "linear_attention", "full_attention"]},
        "mlp", False,
    ),
    "pairs": (
        "GlmMoeDsa",
        {"n_routed_experts": 4, "num_experts_per_tok": 2, "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1,
         "index_n_heads": 2, "index_head_dim": 8, "index_topk": TOKENS, "n_shared_experts": 1, **LATENT},
        "mlp", True,
    ),
}  # fmt: skip


def built(name):
    """A tiny random model, the path of its block, and whether its layers are additive."""
    kind, values, block, additive = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**COMMON | values)
    model = getattr(transformers, f"{kind}Model")._from_config(config, dtype=torch.float32).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model, block, additive


def own_outputs(model, ids):
    """What the model's own layers return."""
    left = []
    hooks = [
        layer.register_forward_hook(lambda module, given, out: left.append(stream_of(out))) for layer in model.layers
    ]
    model(input_ids=ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    return left


def walked(model, path, additive, ids):
    """What `LoadedLayer` makes of the same tokens, by layer."""
    arguments = LayerArguments(model, model.layers)
    hidden, left = arguments.catch(model.embed_tokens.weight[ids]).stream, []
    for index, layer in enumerate(model.layers):
        del layer.forward
        block, catcher = layer.get_submodule(path), None
        if hasattr(block, "experts"):
            catcher = Catcher(pair=False)
            layer.set_submodule(path, catcher)
        loaded = LoadedLayer(layer, index, arguments, HIDDEN, torch.device("cpu"), torch.float32, catcher, additive)
        kept, x = loaded(hidden)
        hidden = kept if x is None else loaded.leaving(kept, stream_of(block(x)))
        loaded.check()
        arguments.silence(layer)
        left.append(hidden)
    return left


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_layers_by_themselves_are_the_models_own(name):
    model, path, additive = built(name)
    ids = torch.randint(3, 96, (2, TOKENS), generator=torch.Generator().manual_seed(2))
    expected = own_outputs(model, ids)
    for ours, theirs in zip(walked(copy.deepcopy(model), path, additive, ids), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    if not additive:
        ours = walked(model, path, True, ids)[-1]
        assert not torch.allclose(ours, expected[-1], rtol=1e-2, atol=1e-2), "it is no residual plus the block"


@torch.no_grad()
def test_arguments_are_caught_once_for_each_shape(monkeypatch):
    model, *_ = built("residual")
    arguments, runs = LayerArguments(model, model.layers), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **given: runs.append(1) or forward(**given))
    arguments.catch(torch.zeros(1, 1, HIDDEN))  # finds out what layers return
    before = len(runs)
    for tokens in (5, 5, 7, 5):
        given = [
            arguments.of(index, (2, tokens, HIDDEN), torch.float32, torch.device("cpu")) for index in range(LAYERS)
        ]
        assert all(each.named["position_embeddings"][0].shape[1] == tokens for each in given)
    assert len(runs) == before + 2


@torch.no_grad()
def test_longer_sequences_than_sparse_attention_selects_are_refused():
    model, *_ = built("pairs")
    arguments = LayerArguments(model, model.layers)
    arguments.catch(torch.zeros(2, TOKENS, HIDDEN))
    with pytest.raises(UserError, match=rf"at most {TOKENS} tokens .*one has {TOKENS + 1}; lower calibration.tokens"):
        arguments.catch(torch.zeros(2, TOKENS + 1, HIDDEN))


def test_activations_that_are_not_finite_are_refused():
    model, path, additive = built("norm behind")
    ids = torch.randint(3, 96, (2, TOKENS))
    with torch.no_grad():
        model.layers[1].get_submodule(path).experts.down_proj.fill_(torch.inf)
    with pytest.raises(UserError, match="layer 1: activations hold NaN or Inf"):
        walked(model, path, additive, ids)
