"""The numbers in the config.json of public models, and what their cards say about their size."""

import json
from dataclasses import dataclass
from pathlib import Path

QWEN3_NEXT = {
    "model_type": "qwen3_next", "dtype": "bfloat16", "num_hidden_layers": 48, "hidden_size": 2048, "vocab_size": 151936,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "full_attention_interval": 4,
    "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4, "partial_rotary_factor": 0.25, "num_experts": 512, "num_experts_per_tok": 10,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "intermediate_size": 5120,
    "decoder_sparse_step": 1, "tie_word_embeddings": False,
}  # fmt: skip
W4A16 = {
    "quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
        "num_bits": 4, "type": "int", "strategy": "group", "group_size": 128, "symmetric": True,
    }}},
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    """A public model.

    Attributes:
        preset: name in params/.
        config: content of config.json.
        parameters: billions, of the text model without multi-token layers; from its card or REAP's Table 1
            (arXiv 2510.13999).
        active: billions of parameters that a token uses, likewise.
        all: billions of parameters with vision, where they are published.
    """

    preset: str
    config: dict
    parameters: float
    active: float
    all: float | None = None


MODELS = {
    "Qwen3-30B-A3B": Published("qwen3-30b-a3b", {
        "model_type": "qwen3_moe", "dtype": "bfloat16", "num_hidden_layers": 48, "hidden_size": 2048,
        "vocab_size": 151936, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128,
        "num_experts_per_tok": 8, "moe_intermediate_size": 768, "intermediate_size": 6144, "mlp_only_layers": [],
        "decoder_sparse_step": 1, "norm_topk_prob": True, "tie_word_embeddings": False,
    }, 30.5, 3.3),
    "Qwen3-Next-80B-A3B": Published("qwen3-next-80b-a3b", QWEN3_NEXT, 79.7, 3.9),
    "Qwen3-Coder-Next": Published("qwen3-coder-next", QWEN3_NEXT, 79.7, 3.9),
    "GLM-4.5-Air": Published("glm-4.5-air", {
        "model_type": "glm4_moe", "dtype": "bfloat16", "num_hidden_layers": 46, "hidden_size": 4096,
        "vocab_size": 151552, "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128,
        "attention_bias": True, "use_qk_norm": False, "n_routed_experts": 128, "n_shared_experts": 1,
        "num_experts_per_tok": 8, "moe_intermediate_size": 1408, "intermediate_size": 10944, "first_k_dense_replace": 1,
        "n_group": 1, "topk_group": 1, "num_nextn_predict_layers": 1, "partial_rotary_factor": 0.5,
        "tie_word_embeddings": False,
    }, 106.9, 12),
    "ERNIE-4.5-21B-A3B": Published("ernie-4.5-21b-a3b", {
        "model_type": "ernie4_5_moe", "dtype": "bfloat16", "num_hidden_layers": 28, "hidden_size": 2560,
        "vocab_size": 103424, "num_attention_heads": 20, "num_key_value_heads": 4, "head_dim": 128,
        "moe_num_experts": 64, "moe_k": 6, "moe_num_shared_experts": 2, "moe_intermediate_size": 1536,
        "intermediate_size": 12288, "moe_layer_start_index": 1, "moe_layer_interval": 1, "moe_layer_end_index": 27,
        "tie_word_embeddings": True,
    }, 21.9, 3),
    "Mixtral-8x7B": Published("mixtral-8x7b", {
        "model_type": "mixtral", "dtype": "bfloat16", "num_hidden_layers": 32, "hidden_size": 4096, "vocab_size": 32000,
        "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
        "intermediate_size": 14336, "tie_word_embeddings": False,
    }, 46.7, 12.9),
    "Llama-4-Scout": Published("llama-4-scout", {
        "model_type": "llama4", "dtype": "bfloat16",
        "text_config": {
            "model_type": "llama4_text", "num_hidden_layers": 48, "hidden_size": 5120, "vocab_size": 202048,
            "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "num_local_experts": 16,
            "num_experts_per_tok": 1, "intermediate_size": 8192, "intermediate_size_mlp": 16384,
            "interleave_moe_layer_step": 1, "tie_word_embeddings": False,
        },
        "vision_config": {
            "model_type": "llama4_vision_model", "hidden_size": 1408, "intermediate_size": 5632,
            "num_hidden_layers": 34, "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
            "vision_output_dim": 4096, "projector_input_dim": 4096, "projector_output_dim": 4096,
        },
    }, 107.8, 17, 108.6),
    "Qwen3-Coder-480B-A35B": Published("qwen3-coder-480b-fp8", {
        "model_type": "qwen3_moe", "dtype": "bfloat16", "num_hidden_layers": 62, "hidden_size": 6144,
        "vocab_size": 151936, "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "num_experts": 160,
        "num_experts_per_tok": 8, "moe_intermediate_size": 2560, "intermediate_size": 8192, "mlp_only_layers": [],
        "decoder_sparse_step": 1, "norm_topk_prob": True, "tie_word_embeddings": False,
        "quantization_config": {
            "quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128],
            "modules_to_not_convert": ["lm_head"],
        },
    }, 480.2, 35),
    "Kimi-K2": Published("kimi-k2-w4a16", {
        "model_type": "kimi_k2", "torch_dtype": "bfloat16", "num_hidden_layers": 61, "hidden_size": 7168,
        "vocab_size": 163840, "num_attention_heads": 64, "num_key_value_heads": 64, "q_lora_rank": 1536,
        "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
        "n_routed_experts": 384, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
        "intermediate_size": 18432, "first_k_dense_replace": 1, "moe_layer_freq": 1, "n_group": 1, "topk_group": 1,
        "num_nextn_predict_layers": 0, "tie_word_embeddings": False, "quantization_config": W4A16,
    }, 1026.4, 32),
}  # fmt: skip


def write_config(name: str, folder: Path) -> Path:
    """A folder with the model's config.json alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(MODELS[name].config))
    return folder
