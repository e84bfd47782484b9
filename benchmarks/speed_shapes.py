"""Shapes of public models' layers, from their config.json, for `benchmarks.speed`."""

from dataclasses import dataclass
from typing import Any

COMMON = {"num_hidden_layers": 1, "vocab_size": 512, "tie_word_embeddings": False, "max_position_embeddings": 4096,
          "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000.0}  # fmt: skip
QWEN = COMMON | {"mlp_only_layers": [], "decoder_sparse_step": 1, "norm_topk_prob": True, "num_experts": 128}


@dataclass(frozen=True)
class Shape:
    """The shape of one layer of a public model.

    Attributes:
        config: the config of a model with one such layer.
        layers: how many layers of the public model have experts.
        kept: how many experts are kept, K.
    """

    config: dict[str, Any]
    layers: int
    kept: int


SHAPES = {
    "demo": Shape(QWEN | {
        "model_type": "qwen3_moe", "hidden_size": 128, "intermediate_size": 384, "moe_intermediate_size": 96,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "num_experts": 32, "num_experts_per_tok": 4,
    }, 4, 24),
    "qwen3-30b-a3b": Shape(QWEN | {
        "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "moe_intermediate_size": 768,
        "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "num_experts_per_tok": 8,
    }, 48, 96),
    # The layer has linear attention, as three of four layers of this model have.
    "qwen3-next-80b-a3b": Shape(QWEN | {
        "model_type": "qwen3_next", "hidden_size": 2048, "intermediate_size": 5120, "moe_intermediate_size": 512,
        "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "full_attention_interval": 4,
        "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "partial_rotary_factor": 0.25, "num_experts": 512,
        "num_experts_per_tok": 10, "shared_expert_intermediate_size": 512,
    }, 48, 384),
    "glm-4.5-air": Shape(COMMON | {
        "model_type": "glm4_moe", "hidden_size": 4096, "intermediate_size": 10944, "moe_intermediate_size": 1408,
        "num_attention_heads": 96, "num_key_value_heads": 8, "head_dim": 128, "attention_bias": True,
        "use_qk_norm": False, "n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 8,
        "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1, "partial_rotary_factor": 0.5,
        "num_nextn_predict_layers": 0, "routed_scaling_factor": 1.0, "norm_topk_prob": True,
    }, 45, 96),
}  # fmt: skip
