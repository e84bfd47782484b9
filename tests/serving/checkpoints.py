"""Every family's checkpoint at a size that clients' kernels take, and its compressed versions in every form."""

import json
from pathlib import Path

import torch

from ream.recipe.output import write_checkpoint
from tests.compress.walks import opened, random_recipe
from tests.models import families

HEAD, HIDDEN, WIDTH = 32, 64, 32  # what kernels for attention, and blocks of Q8_0 and Q4_0, are multiples of
COMMON = {
    "hidden_size": HIDDEN, "head_dim": HEAD, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": WIDTH, "moe_intermediate_size": WIDTH,
}  # fmt: skip
SHARED = {"shared_expert_intermediate_size": WIDTH}
LINEAR = {"linear_key_head_dim": 128, "linear_value_head_dim": 128}
LATENT = {
    "q_lora_rank": 32, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "head_dim": 64, "num_key_value_heads": 2,
}  # fmt: skip
SIGMOID = {"scoring_func": "sigmoid"}  # published configs say it; transformers reads no such key and writes none
ONE_GROUP = {"n_group": 1, "topk_group": 1, "topk_method": "greedy"}
# vLLM wants blocks of 128 tokens in a chunk, llama.cpp a layer with full attention, which is every fourth.
CHUNKED = {"intermediate_size_mlp": WIDTH, "attention_chunk_size": 128, "num_hidden_layers": 4}
VALUES = {
    "qwen3_moe": {"mlp_only_layers": []},  # llama.cpp knows no dense layers in it, and published models have none
    "olmoe": {"num_key_value_heads": 2},  # as many as attention heads, as published models and llama.cpp have
    "qwen2_moe": SHARED, "qwen3_next": SHARED | LINEAR, "qwen3_5_moe_text": SHARED | LINEAR,
    "qwen3_5_moe": SHARED | LINEAR,
    "deepseek_v3": LATENT | SIGMOID | {"topk_method": "noaux_tc"},
    "kimi_k2": LATENT | SIGMOID | {"topk_method": "noaux_tc"},
    "deepseek_v2": LATENT | {"norm_topk_prob": False},
    "minimax_m2": SIGMOID | {"rotary_dim": HEAD // 2, "use_routing_bias": True},
    "llama4_text": CHUNKED, "llama4": CHUNKED,
}  # fmt: skip
# Name of a case, and the family and values that it is made of; DeepSeek-V2-Lite has one router group.
CASES = {family: (family, VALUES.get(family, {})) for family in families.TINY}
CASES["deepseek_v2 with 1 router group"] = ("deepseek_v2", VALUES["deepseek_v2"] | ONE_GROUP)
KEPT, KEPT_IN_GROUPS = 5, 6  # of 8 experts: an odd number where the router allows it
FORMS = {"as the original": None, "single file": 10, "--shard-size": 1e-4}  # GB of a shard
PROMPTS = [
    torch.randint(256, (length,), generator=torch.Generator().manual_seed(length)).tolist() for length in (5, 12, 23)
]
NEW_TOKENS = 6


def original(case: str, folder: Path) -> Path:
    """A case's random checkpoint in float32, with a tokenizer of bytes and one pair of them."""
    from tests.tiny import write_tokenizer

    family, own = CASES[case]
    values = {key: value for key, value in COMMON.items() if _has(family, key)}
    families.build(family, folder, values=values | own)
    write_tokenizer(folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["merges"], tokenizer["model"]["vocab"]["ab"] = [["a", "b"]], 257  # llama.cpp wants a merge
    path.write_text(json.dumps(tokenizer))
    return folder


def _has(family, key):
    """Whether the family's own tiny config, or that of all families, sets the key."""
    return key in families.COMMON or key in families.TINY[family].values


def kept(case: str) -> int:
    """Number of experts that the compressed checkpoints keep."""
    family, own = CASES[case]
    return KEPT_IN_GROUPS if own.get("n_group", families.TINY[family].groups) > 1 else KEPT


def compressed(source: Path, out: Path, form: str, number: int) -> Path:
    """The checkpoint with experts merged by lot into a number of them, the same in every form of output."""
    read, architecture = opened(source)
    recipe = random_recipe(architecture, number, groups=architecture.router_groups, width=architecture.width)
    write_checkpoint(read, architecture, recipe, out, shard_gb=FORMS[form])
    return out


def reference(folder: Path, prompts: list[list[int]] = PROMPTS) -> dict:
    """What transformers computes from a checkpoint in float32; see `scored`."""
    import transformers

    config, given = json.loads((folder / "config.json").read_text()), {}
    if config["model_type"] == "kimi_k2":  # known to transformers under another name only
        given["config"] = transformers.DeepseekV3Config(**config | {"model_type": "deepseek_v3"})
    auto = getattr(transformers, families.TINY[config["model_type"]].model)
    return scored(auto.from_pretrained(folder, dtype=torch.float32, **given).eval(), prompts, NEW_TOKENS)


@torch.no_grad()
def scored(model, prompts: list[list[int]], new_tokens: int) -> dict:
    """A model's log-probability of each prompt's tokens but the first, and the tokens it generates greedily."""
    found = {"log_probabilities": [], "greedy": []}
    for prompt in prompts:
        ids = torch.tensor([prompt])
        scores = model(ids, use_cache=False).logits[0].log_softmax(-1)
        found["log_probabilities"].append(scores[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist())
        for _ in range(new_tokens):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
        found["greedy"].append(ids[0, len(prompt) :].tolist())
    return found
