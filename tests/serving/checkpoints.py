"""Every family's checkpoint at a size that clients' kernels take, and its compressed versions in every form."""

import json
from pathlib import Path

import torch

from ream.models.family.families import FAMILIES
from ream.recipe.output import write_checkpoint
from tests.compress.walks import opened, random_recipe
from tests.models import families

HEAD, HIDDEN, WIDTH = 32, 64, 32  # what kernels for attention, and blocks of Q8_0 and Q4_0, are multiples of
COMMON = {
    "hidden_size": HIDDEN, "head_dim": HEAD, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": WIDTH, "moe_intermediate_size": WIDTH,
}  # fmt: skip
SHARED = {"shared_expert_intermediate_size": WIDTH}
LINEAR = {"linear_key_head_dim": 32, "linear_value_head_dim": 32}
LATENT = {
    "q_lora_rank": 32, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "head_dim": 64, "num_key_value_heads": 2,
}  # fmt: skip
VALUES = {
    "qwen3_moe": {"mlp_only_layers": []},  # llama.cpp knows no dense layers in it, and published models have none
    "qwen2_moe": SHARED, "qwen3_next": SHARED | LINEAR, "qwen3_5_moe_text": SHARED | LINEAR,
    "qwen3_5_moe": SHARED | LINEAR, "deepseek_v3": LATENT, "kimi_k2": LATENT, "deepseek_v2": LATENT,
    "llama4_text": {"intermediate_size_mlp": WIDTH}, "llama4": {"intermediate_size_mlp": WIDTH},
}  # fmt: skip
KEPT, KEPT_IN_GROUPS = 5, 6  # of 8 experts: an odd number where the router allows it
FORMS = {"as the original": None, "single file": 10, "--shard-size": 1e-4}  # GB of a shard
PROMPTS = [
    torch.randint(256, (length,), generator=torch.Generator().manual_seed(length)).tolist() for length in (5, 12, 23)
]
NEW_TOKENS = 6


def original(family: str, folder: Path) -> Path:
    """A family's random checkpoint in float32, with a tokenizer of bytes and one pair of them."""
    from tests.tiny import write_tokenizer

    values = {key: value for key, value in COMMON.items() if _has(family, key)}
    families.build(family, folder, values=values | VALUES.get(family, {}))
    write_tokenizer(folder)
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["merges"], tokenizer["model"]["vocab"]["ab"] = [["a", "b"]], 257  # llama.cpp wants a merge
    path.write_text(json.dumps(tokenizer))
    return folder


def _has(family, key):
    """Whether the family's own tiny config, or that of all families, sets the key."""
    return key in families.COMMON or key in families.TINY[family].values


def kept(family: str) -> int:
    """Number of experts that the compressed checkpoints keep."""
    return KEPT_IN_GROUPS if families.TINY[family].groups > 1 else KEPT


def compressed(source: Path, out: Path, form: str) -> Path:
    """The checkpoint with experts merged by lot, the same in every form of output."""
    read, architecture = opened(source)
    number = kept(architecture.family.model_type)
    recipe = random_recipe(architecture, number, groups=architecture.router_groups, width=architecture.width)
    write_checkpoint(read, architecture, recipe, out, shard_gb=FORMS[form])
    return out


@torch.no_grad()
def reference(folder: Path, prompts: list[list[int]] = PROMPTS, new_tokens: int = NEW_TOKENS) -> dict:
    """What transformers computes in float32: log-probability of each prompt's tokens but the first, greedy tokens."""
    import transformers

    family, given = json.loads((folder / "config.json").read_text())["model_type"], {}
    if family == "kimi_k2":  # known to transformers under another name only
        text = json.loads((folder / "config.json").read_text())
        given["config"] = transformers.DeepseekV3Config(**text | {"model_type": "deepseek_v3"})
    auto = getattr(transformers, families.TINY[family].model)
    model = auto.from_pretrained(folder, dtype=torch.float32, **given).eval()
    found = {"log_probabilities": [], "greedy": []}
    for prompt in prompts:
        ids = torch.tensor([prompt])
        scores = model(ids, use_cache=False).logits[0].log_softmax(-1)
        found["log_probabilities"].append(scores[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist())
        for _ in range(new_tokens):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
        found["greedy"].append(ids[0, len(prompt) :].tolist())
    return found


assert families.TINY.keys() == FAMILIES.keys()
