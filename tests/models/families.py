"""A tiny random model of every family, on disk as real checkpoints of it are."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

LAYERS, VOCABULARY, HIDDEN, WIDTH = 3, 300, 16, 8
COMMON = {
    "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 256, "tie_word_embeddings": False,
    "bos_token_id": None, "eos_token_id": 256, "pad_token_id": 256,
}  # fmt: skip
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4, "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "partial_rotary_factor": 0.5,
}  # fmt: skip
LATENT = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8, "head_dim": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
QWEN = {"moe_intermediate_size": WIDTH, "num_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 12}
SHARED = {"shared_expert_intermediate_size": 12}
DEEPSEEK = {
    "moe_intermediate_size": WIDTH, "n_routed_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 12,
    "n_shared_experts": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 1.7, "norm_topk_prob": True,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Tiny:
    """How to build the tiny model of a family.

    Attributes:
        config: name of the configuration's class in transformers.
        model: name of the model's class in transformers.
        values: of the (text) configuration.
        vision: values of the vision configuration of a multimodal wrapper.
        experts: N.
        top_k: k.
        groups: n_group.
        moe_layers: indices of the layers with routed experts, of LAYERS.
        multi_token: number of multi-token layers to add.
        stacked: whether a layer's experts lie in one tensor for each projection; transformers writes one for each
            expert.
        json: replaces keys of the config.json that transformers writes; None removes a key.
    """

    config: str
    model: str
    values: dict = field(default_factory=dict)
    vision: dict | None = None
    experts: int = 8
    top_k: int = 2
    groups: int = 1
    moe_layers: tuple[int, ...] = (0, 1, 2)
    multi_token: int = 0
    stacked: bool = False
    json: dict = field(default_factory=dict)


TINY = {
    "qwen3_moe": Tiny(
        "Qwen3MoeConfig", "Qwen3MoeForCausalLM",
        QWEN | {"mlp_only_layers": [1], "norm_topk_prob": True}, moe_layers=(0, 2),
    ),
    "qwen2_moe": Tiny("Qwen2MoeConfig", "Qwen2MoeForCausalLM", QWEN | SHARED),
    "qwen3_next": Tiny("Qwen3NextConfig", "Qwen3NextForCausalLM", QWEN | SHARED | LINEAR, multi_token=1),
    "qwen3_5_moe_text": Tiny("Qwen3_5MoeTextConfig", "Qwen3_5MoeForCausalLM", QWEN | SHARED | LINEAR, multi_token=1),
    "qwen3_5_moe": Tiny(
        "Qwen3_5MoeConfig",
        "Qwen3_5MoeForConditionalGeneration",
        QWEN | SHARED | LINEAR,
        vision={
            "depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 4,
            "out_hidden_size": HIDDEN, "num_position_embeddings": 16,
        },
        stacked=True, multi_token=1,
    ),
    "glm4_moe": Tiny(
        "Glm4MoeConfig", "Glm4MoeForCausalLM", DEEPSEEK | {"n_group": 1, "topk_group": 1, "num_mtp_layers": 1},
        moe_layers=(1, 2), multi_token=1,
    ),
    "deepseek_v3": Tiny(
        "DeepseekV3Config", "DeepseekV3ForCausalLM",
        DEEPSEEK | LATENT | {"n_group": 2, "topk_group": 1, "num_mtp_layers": 1},
        groups=2, moe_layers=(1, 2), multi_token=1,
    ),
    "kimi_k2": Tiny(
        "DeepseekV3Config", "DeepseekV3ForCausalLM",
        DEEPSEEK | LATENT | {"n_group": 1, "topk_group": 1, "num_mtp_layers": 0},
        moe_layers=(1, 2), json={"model_type": "kimi_k2"},
    ),
    "deepseek_v2": Tiny(
        "DeepseekV2Config", "DeepseekV2ForCausalLM",
        DEEPSEEK | LATENT | {"n_group": 2, "topk_group": 1, "topk_method": "group_limited_greedy"},
        groups=2, moe_layers=(1, 2),
    ),
    "ernie4_5_moe": Tiny(
        "Ernie4_5_MoeConfig", "Ernie4_5_MoeForCausalLM",
        {
            "moe_intermediate_size": WIDTH, "moe_num_experts": 8, "moe_k": 2, "intermediate_size": 12,
            "moe_num_shared_experts": 1, "moe_layer_start_index": 1,
        },
        moe_layers=(1, 2),
    ),
    "mixtral": Tiny(
        "MixtralConfig", "MixtralForCausalLM",
        {"intermediate_size": WIDTH, "num_local_experts": 8, "num_experts_per_tok": 2},
    ),
    "minimax_m2": Tiny(
        "MiniMaxM2Config", "MiniMaxM2ForCausalLM",
        {"intermediate_size": WIDTH, "num_local_experts": 8, "num_experts_per_tok": 2},
    ),
    "olmoe": Tiny(
        "OlmoeConfig", "OlmoeForCausalLM", {"intermediate_size": WIDTH, "num_experts": 8, "num_experts_per_tok": 2}
    ),
    "gpt_oss": Tiny(
        "GptOssConfig", "GptOssForCausalLM",
        {
            "intermediate_size": WIDTH, "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
    ),
    "llama4_text": Tiny(
        "Llama4TextConfig", "Llama4ForCausalLM",
        {
            "intermediate_size": WIDTH, "intermediate_size_mlp": 12, "num_local_experts": 8, "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2, "attention_chunk_size": 8,
        },
        top_k=1, moe_layers=(1,),
    ),
    "llama4": Tiny(
        "Llama4Config", "Llama4ForConditionalGeneration",
        {
            "intermediate_size": WIDTH, "intermediate_size_mlp": 12, "num_local_experts": 8, "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 1, "attention_chunk_size": 8,
        },
        vision={
            "hidden_size": 16, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1,
            "vision_output_dim": 16, "projector_input_dim": 16, "projector_output_dim": 16, "image_size": 16,
            "patch_size": 8,
        },
        top_k=1,
    ),
}  # fmt: skip


def build(family: str, folder: Path, seed: int = 0, values: dict | None = None) -> Path:
    """Write a tiny checkpoint of a family in float32, in the layout of real ones.

    ``values`` go into its (text) config, beside the family's own or instead of them.
    """
    import transformers

    tiny = TINY[family]
    config_class = getattr(transformers, tiny.config)
    if tiny.vision is None:
        config = config_class(**COMMON | tiny.values | (values or {}))
    else:
        config = config_class(text_config=COMMON | tiny.values | (values or {}), vision_config=tiny.vision)
    model = getattr(transformers, tiny.model)(config).float()
    randomise(model.state_dict(), seed)
    model.save_pretrained(folder, max_shard_size="40KB")
    text = json.loads((folder / "config.json").read_text())
    text = {key: value for key, value in (text | tiny.json).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(text, indent=2) + "\n")
    if tiny.multi_token:
        _add_multi_token(folder, family, tiny, seed)
    if tiny.stacked:
        _stack(folder)
    return folder


def _stack(folder):
    """Rewrite each layer's experts as one tensor of gate and up rows and one of down rows, as Qwen3.5 has them."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    tensors = {name: load_file(folder / shard)[name] for name, shard in index["weight_map"].items()}
    parts = {}
    for name in [name for name in tensors if ".experts." in name]:
        prefix, _, rest = name.partition(".experts.")
        number, projection, _ = rest.split(".")
        parts.setdefault((prefix, projection), {})[int(number)] = tensors.pop(name)
    stacks = {key: torch.stack([experts[number] for number in sorted(experts)]) for key, experts in parts.items()}
    for prefix, projection in stacks:
        if projection == "down_proj":
            tensors[f"{prefix}.experts.down_proj"] = stacks[prefix, projection]
            gate_up = [stacks[prefix, "gate_proj"], stacks[prefix, "up_proj"]]
            tensors[f"{prefix}.experts.gate_up_proj"] = torch.cat(gate_up, dim=1)
    for shard in set(index["weight_map"].values()):
        (folder / shard).unlink()
    (folder / "model.safetensors.index.json").unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


# Ends of the names of buffers that checkpoints have and that only their computed values make sense of (MiniMax-01).
COMPUTED = ("slope_rate", "query_decay", "key_decay", "diagonal_decay")


def randomise(tensors, seed):
    """Fill tensors with random values, large enough for routers (their biases, too) and norms to matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in tensors.items():
            if not tensor.is_floating_point() or name.endswith(COMPUTED):
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if "correction_bias" in name or tensor.dim() > 1 or name.endswith("bias"):
                tensor.copy_(0.3 * noise)
            else:
                tensor.copy_(1 + 0.1 * noise)


def _add_multi_token(folder, family, tiny, seed):
    """Add multi-token layers in a shard of their own: copies of the last layer with other values."""
    index_path = folder / "model.safetensors.index.json"
    index = json.loads(index_path.read_text())
    tensors = {name: load_file(folder / shard)[name] for name, shard in index["weight_map"].items()}
    decoder = "model.language_model.layers." if tiny.vision else "model.layers."
    last = f"{decoder}{LAYERS - 1}."
    # Attention of these layers is over all tokens; in the tiny models with linear attention only layer 1 has that.
    attention = f"{decoder}1." if "layer_types" in tiny.values else last
    beside = "qwen" in family
    hidden = next(tensor.shape[1] for name, tensor in tensors.items() if name.endswith("embed_tokens.weight"))
    extra = {}
    for layer in range(tiny.multi_token):
        prefix = f"mtp.layers.{layer}." if beside else f"model.layers.{LAYERS + layer}."
        for name, tensor in tensors.items():
            for source in {last, attention}:
                rest = name.removeprefix(source)
                wanted = attention if rest.startswith(("self_attn.", "linear_attn.")) else last
                if name.startswith(source) and source == wanted:
                    extra[prefix + rest] = tensor.clone()
        norms = {"shared_head.norm", "enorm", "hnorm"}
        if not beside:
            extra |= {f"{prefix}{norm}.weight": torch.ones(hidden) for norm in norms}
            extra[f"{prefix}eh_proj.weight"] = torch.ones(hidden, 2 * hidden)
            extra[f"{prefix}embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
            extra[f"{prefix}shared_head.head.weight"] = tensors["lm_head.weight"].clone()
    if beside:
        norms = {"mtp.norm", "mtp.pre_fc_norm_embedding", "mtp.pre_fc_norm_hidden"}
        extra |= {f"{norm}.weight": torch.ones(hidden) for norm in norms} | {
            "mtp.fc.weight": torch.ones(hidden, 2 * hidden)
        }
    randomise(
        {name: tensor for name, tensor in extra.items() if "embed_" not in name and ".head." not in name}, seed + 1
    )
    shard = "model-mtp.safetensors"
    save_file(extra, folder / shard, metadata={"format": "pt"})
    index["weight_map"] |= dict.fromkeys(extra, shard)
    index["metadata"]["total_size"] += sum(tensor.numel() * 4 for tensor in extra.values())
    index_path.write_text(json.dumps(index, indent=2) + "\n")
