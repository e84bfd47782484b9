"""Tiny random Qwen3-MoE checkpoints in the layout of the hub, with calibration text and params files for them."""

import json
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ROOT = Path(__file__).parents[1]
EXPERTS, TOP_K, HIDDEN, WIDTH, VOCABULARY = 8, 2, 16, 8, 300


def build(folder, dtype=torch.float32, layers=3, dense=(), shard="12KB", hub_key=True, seed=0):
    """Write a checkpoint with tokenizer, chat template and licence, and return its folder.

    Args:
        folder: folder to write to.
        dtype: dtype of the weights.
        layers: number of layers.
        dense: layers without experts.
        shard: maximum size of a shard; the default gives several shards.
        hub_key: write num_experts to config.json, as real checkpoints do, instead of transformers 5's
            num_local_experts.
        seed: seed of the weights.
    """
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    config = Qwen3MoeConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=12, moe_intermediate_size=WIDTH,
        num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=1, head_dim=8,
        num_experts=EXPERTS, num_experts_per_tok=TOP_K, mlp_only_layers=list(dense), norm_topk_prob=True,
        tie_word_embeddings=False, max_position_embeddings=256, bos_token_id=None, eos_token_id=256, pad_token_id=256,
    )  # fmt: skip
    model = Qwen3MoeForCausalLM(config).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise if parameter.dim() > 1 else 1 + 0.1 * noise)
    model.save_pretrained(folder, max_shard_size=shard)
    if hub_key:
        rewrite_config(
            folder,
            lambda config: {"num_experts" if key == "num_local_experts" else key: config[key] for key in config},
        )
    write_tokenizer(folder)
    return folder


def rewrite_config(folder, change):
    """Replace the content of config.json by what ``change`` makes of it."""
    path = folder / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text())), indent=2) + "\n")


def write_tokenizer(folder):
    """Write a byte-level tokenizer, a chat template and a licence."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate([*alphabet, "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"})
    )
    (folder / "chat_template.jinja").write_text("{{ messages }}\n")
    (folder / "LICENSE").write_text("free\n")


def damaged(checkpoint, folder):
    """A copy of a checkpoint in another folder, for a test to damage."""
    for name, data in files(checkpoint).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def files(folder):
    """The bytes of every file in a folder and below it, by relative name."""
    paths = sorted(path for path in Path(folder).rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def documents(seed, count=24):
    """Texts of 12 to 39 random letters: some fill a sequence of 24 tokens, others are padded."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(12, 40, (count,), generator=generator).tolist()
    return ["".join(chr(97 + int(i)) for i in torch.randint(26, (n,), generator=generator)) for n in lengths]


def write_params(folder, model="unset", sequences=8, probes=100, batch_tokens=72, documents_each=24, tokens=24):
    """Write a params file with the repository's methods and two ``files`` sources, a and b, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    sources = {}
    for seed, name in enumerate(("a", "b"), start=1):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents(seed, documents_each)))
        sources[name] = {"kind": "files", "paths": [str(path)]}
    tree |= {
        "model": {"path": str(model)},
        "compute": {"device": "cpu", "batch_tokens": batch_tokens},
        "calibration": {"sequences": sequences, "tokens": tokens, "fill": 0.5, "seed": 0},
        "sources": sources,
        "statistics": {"probes": probes},
        "mixes": {"balanced": {"a": 0.5, "b": 0.5}, "leaning": {"a": 0.75, "b": 0.25}},
        "grouping": {"group_size": 8},
        "suites": {"none": {}},
        "evaluation": {"suite": "none"},
        "run": {
            "sources": ["a", "b"],
            "mixes": ["balanced"],
            "one_shot": ["reap"],
            "sequential": ["ream"],
            "experts": [4],
            "rank": ["balanced"],
        },
        "exports": {},
    }
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path
