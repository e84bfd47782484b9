"""Tiny random checkpoints of Mixture-of-Experts types that have no entry: what the derivation is tested on.

A configuration class is filled with the values of SMALL that it knows, and with a type's own of PARTICULAR.
Transformers writes the checkpoint, so names and layout are those of its own converter.
"""

from pathlib import Path
from typing import Any

import torch

from tests.models.families import randomise

EXPERTS, TOP_K, LAYERS, HIDDEN, WIDTH, VOCABULARY = 8, 2, 3, 32, 12, 300
_EXPERTS = dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), EXPERTS)
_TOP_K = dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k"), TOP_K)
_WIDTH = dict.fromkeys(("moe_intermediate_size", "expert_ffn_hidden_size"), WIDTH)
_SHARED_WIDTH = dict.fromkeys(
    (
        "shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size",
        "shared_experts_intermediate_size", "share_expert_dim",
    ),
    16,
)  # fmt: skip
_SHARED = dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1)
_ATTENTION = {
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "q_lora_rank": 16, "kv_lora_rank": 16,
    "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "sliding_window": 16, "index_n_heads": 2,
    "index_head_dim": 8, "index_topk": 64, "index_topk_blocks": 4, "kv_channels": 8, "global_head_dim": 8,
    "o_groups": 2, "o_lora_rank": 8,
}  # fmt: skip
_LINEAR_ATTENTION = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4, "linear_head_dim": 8, "linear_num_heads": 4, "kda_safe_gate": False, "block_size": 8,
}  # fmt: skip
_STATE_SPACE = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_expand": 2,
    "mamba_d_conv": 4, "mamba_chunk_size": 8, "mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8,
    "n_groups": 1, "chunk_size": 8, "conv_L_cache": 3,
}  # fmt: skip
SMALL: dict[str, Any] = {
    **_EXPERTS, **_TOP_K, **_WIDTH, **_SHARED_WIDTH, **_SHARED, **_ATTENTION, **_LINEAR_ATTENTION, **_STATE_SPACE,
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": 24, "ffn_hidden_size": 24,
    "num_hidden_layers": LAYERS, "max_position_embeddings": 64, "tie_word_embeddings": False,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "n_group": 2, "num_expert_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "num_dense_layers": 1,
    "moe_layer_start_index": 1, "num_mtp_layers": 0, "num_nextn_predict_layers": 0, "expert_layer_period": 1,
    "expert_layer_offset": 0, "attn_layer_period": 2, "attn_layer_offset": 1, "hc_mult": 2, "hc_count": 2,
    "hc_lowrank": 8, "gated_norm_rank": 8, "enable_moe_block": True, "top_k_experts": TOP_K,
    "vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 0, "router_hidden_size": 16,
    "zero_expert_num": 3, "moe_hidden_size": HIDDEN,
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_heads": 2, "num_hidden_layers": 1,
    "depth": 1, "patch_size": 4, "image_size": 16, "out_hidden_size": HIDDEN, "num_position_embeddings": 16,
    "projector_input_dim": 16, "projector_output_dim": 16, "text_hidden_size": HIDDEN, "d_model": 16,
    "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "output_dim": HIDDEN, "num_mel_bins": 16,
    "downsample_hidden_size": 8, "deepstack_visual_indexes": [0], "decoder_dim": 16, "codebook_size": 32,
    "num_quantizers": 2, "upsample_rates": [2], "upsampling_ratios": [2], "sliding_window": 8,
}  # fmt: skip
_ALL_HEADS = {"num_key_value_heads": 4}
_GRANITE = {"residual_multiplier": 0.5, "embedding_multiplier": 3.0, "intermediate_size": WIDTH}
# What SMALL cannot say.
PARTICULAR: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            "axk1", "axk2", "deepseek_v32", "dots3_note_text", "glm4_moe_lite", "glm_moe_dsa", "hy_v4", "kimi_linear",
            "mistral_large4_text",
        ),
        _ALL_HEADS,
    ),
    "deepseek_v4": {
        "mlp_layer_types": ["hash_moe", "moe", "moe"], "num_key_value_heads": 1,
        "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
    },
    "deepseek_ocr2_text": _ALL_HEADS | {
        "n_group": 1, "topk_group": 1, "mlp_layer_types": ["dense", "sparse", "sparse"],
    },
    "dbrx": {
        "d_model": HIDDEN, "n_heads": 4, "n_layers": LAYERS, "attn_config": {"rope_theta": 1e4, "kv_n_heads": 2},
        "ffn_config": {"moe_num_experts": EXPERTS, "moe_top_k": TOP_K, "ffn_hidden_size": WIDTH},
    },
    "deepseek_ocr2": {
        "vision_config": {
            "sam_config": {
                **TOWER, "output_channels": 8, "mlp_dim": 16, "global_attn_indexes": [0], "window_size": 2,
                "downsample_channels": [8, 16],
            },
            "encoder_config": {**TOWER, "num_key_value_heads": 2, "vocab_size": VOCABULARY, "layer_types": None},
        },
    },
    "unlimited_ocr_text": _ALL_HEADS | {"n_group": 1, "topk_group": 1},
    "beam": {"mlp_layer_types": ["dense", "sparse", "sparse"]},
    "step3p5": {"mlp_layer_types": ["dense", "sparse", "sparse"]},
    "glm4v_moe_text": {
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1], "partial_rotary_factor": 1.0,
        }
    },
    "glm5_next_text": _ALL_HEADS | {"qk_rope_head_dim": 0, "mlp_layer_types": ["dense", "sparse", "sparse"]},
    "granitemoe": _GRANITE,
    "granitemoe_swa": _GRANITE,
    "granitemoeshared": _GRANITE,
    "granitemoehybrid": _GRANITE | {"layer_types": ["mamba", "attention", "mamba"]},
    "inkling_mm_model": {
        "vision_config": {"text_hidden_size": HIDDEN, "patch_size": 2, "num_hidden_layers": 2, "hidden_size": 16},
        "audio_config": {"text_hidden_size": HIDDEN, "n_mel_bins": 4, "mel_vocab_size": 8},
    },
    "longcat_flash": _ALL_HEADS | {"num_layers": LAYERS},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "minimax": {
        **dict.fromkeys(("full_attn_alpha_factor", "linear_attn_alpha_factor", "mlp_alpha_factor"), 1.5),
        **dict.fromkeys(("full_attn_beta_factor", "linear_attn_beta_factor", "mlp_beta_factor"), 0.7),
    },
    "mistral4": _ALL_HEADS | {
        "rope_parameters": {
            "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 64,
        }
    },
    "mistral3": {
        "vision_config": {
            "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2,
            "num_hidden_layers": 1, "patch_size": 4, "image_size": 16, "head_dim": 8,
        },
        "tie_word_embeddings": False,
    },
    "nemotron_h": {"layers_block_type": ["linear_attention", "moe", "full_attention", "mlp", "moe"]},
    "qwen4_exp_text": {
        "ple_embed_dim": 16, "ple_layer_ids": [1, 3], "ngram_vocab_size_base": 50,
        "make_ngram_vocab_size_divisible_by": 24, "split_ngram_parts": 12, "indexer_n_heads": 2, "indexer_kv_heads": 1,
        "indexer_head_dim": 8, "indexer_budget": 8, "indexer_compress_ratio": 2,
    },
    "zaya": {"num_experts_per_tok": 1},
}  # fmt: skip


def configuration(model_type: str, **values: Any) -> Any:
    """A tiny configuration of transformers for a model_type; ``values`` are the text model's."""
    from transformers import CONFIG_MAPPING

    model_type, own = VARIANTS.get(model_type, (model_type, {}))
    values = own | values
    kind: Any = CONFIG_MAPPING[model_type]
    if "thinker_config" in kind.sub_configs:
        return _of_parts(kind, values)
    if "text_config" not in kind.sub_configs:
        return _small(kind, **values)
    text: Any = CONFIG_MAPPING[TEXT_PARTS[model_type]] if model_type in TEXT_PARTS else type(kind().text_config)
    towers = {key: tower for key, tower in kind.sub_configs.items() if key != "text_config"}
    parts = {key: _tower(type(getattr(kind(), key, None)), tower) for key, tower in towers.items()}
    return kind(text_config=_small(text, **values).to_dict(), **parts | PARTICULAR.get(model_type, {}))


def _of_parts(kind: Any, values: dict[str, Any]) -> Any:
    """A configuration of Qwen3-Omni: a thinker with towers, a talker with experts of its own, a decoder of sound."""
    small = {name: _shrunk(part, values) for name, part in kind.sub_configs.items()}
    small["talker_config"] |= {"spatial_merge_size": 2, "thinker_hidden_size": HIDDEN, "num_code_groups": 2}
    return kind(**small, enable_audio_output=True)


def _shrunk(kind: Any, values: dict[str, Any]) -> dict[str, Any]:
    """The values of one part, and of the parts inside it."""
    inner = {name: _shrunk(part, values) for name, part in kind.sub_configs.items()}
    if inner:
        return inner
    experts = "expert" in " ".join(kind().to_dict())
    own = _small(kind).to_dict() | {"shared_expert_intermediate_size": 16} if experts else _tower(kind, kind)
    return own | (values if kind.model_type == "qwen3_omni_moe_text" else {})


def _small(kind: Any, **values: Any) -> Any:
    """A configuration of a text model with those of SMALL's values that it knows."""
    known = {*kind().to_dict(), *kind.attribute_map.values()}
    small = {key: value for key, value in SMALL.items() if key in known}
    return kind(**small | PARTICULAR.get(kind.model_type, {}) | values)


def _tower(own: Any, declared: Any) -> dict[str, Any]:
    """Values of a vision or audio tower."""
    kind: Any = own if hasattr(own, "to_dict") else declared
    if not hasattr(kind, "attribute_map"):
        return {}
    known = {*kind().to_dict(), *kind.attribute_map.values()}
    return {key: value for key, value in TOWER.items() if key in known}


def build(model_type: str, folder: Path, seed: int = 0, **values: Any) -> Path:
    """Write a tiny random checkpoint in float32, as transformers writes it."""
    from ream.models.family.derived.weightless import whole_class

    config = configuration(model_type, **values)
    model = whole_class(config)._from_config(config, dtype=torch.float32)
    randomise(model.state_dict(), seed)
    _fill_tables(model, seed)
    model.save_pretrained(folder)
    return folder


def _fill_tables(model: Any, seed: int) -> None:
    """Distinct experts by lot for each token id, in tables by token id; Zaya's biases all about that of skipping.

    transformers 5.23 gives the row for skipping a bias of -1 when it loads a checkpoint, whatever that has there.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, table in model.state_dict().items():
        if name.endswith("tid2eid"):
            lots = [torch.randperm(EXPERTS, generator=generator)[: table.shape[1]] for _ in table]
            table.copy_(torch.stack(lots))
        if name.endswith("balancing_biases"):
            table.copy_(0.02 * torch.randn(table.shape, generator=generator) - 1)
            table[-1] = -1


# Types of which more than one form is tested: name to model_type and values.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {"nemotron_h (latent)": ("nemotron_h", {"moe_latent_size": 20})}
TEXT_PARTS = {"mistral3": "mistral4"}  # wrappers whose text part may be of several types: Mistral Small 4
TYPES = (
    "afmoe", "aria", "aria_text", "axk1", "axk2", "bailing_hybrid", "beam", "cohere2_moe", "deepseek_ocr2",
    "deepseek_v32", "deepseek_v4", "dots1", "dots3_note_text", "exaone_moe", "flex_olmo", "flint", "gemma4",
    "gemma4_text", "glm4_moe_lite", "glm4v_moe", "glm5_next", "glm_moe_dsa", "granitemoe", "granitemoe_swa",
    "granitemoehybrid", "granitemoeshared", "hunyuan_v1_moe", "hy_v3", "hy_v4", "inkling_mm_model", "inkling_text",
    "jamba", "kimi_linear", "kolibri1", "laguna", "lfm2_moe", "longcat_flash", "mellum", "mimo_v2_flash", "minimax",
    "minimax_m3_vl", "minimax_m3_vl_text", "mistral3", "mistral4", "mistral_large4", "nemotron_h",
    "nemotron_h (latent)", "phimoe", "qwen3_omni_moe", "qwen3_vl_moe", "qwen4_exp", "qwen4_exp_text", "solar_open",
    "step3p7", "unlimited_ocr", "zaya",
)  # fmt: skip
# Types that are refused, to a part of the reason.
REFUSED = {
    "dbrx": "are rows of one matrix",
    "inkling2": "belongs to a layer",
    "jetmoe": "2 sets of experts (layers.0.mlp, layers.0.self_attention.experts), which one config key counts",
    "muse_spark_text": "ends with a norm",
}
