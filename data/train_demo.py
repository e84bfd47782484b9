"""Train the demo model: a small Qwen3-MoE on the built-in text sources, equal thirds of each.

    python data/train_demo.py --steps 6000 --decay 1500          # from scratch, or from the last saved state

The learning rate is constant after its warm-up and falls linearly to zero over the last ``--decay`` steps, so a run can
be continued, or ended early, from its saved state without changing what the earlier steps were. The state is kept in
``.cache/train-demo`` (safetensors); the model is written by transformers to ``data/demo-model``.
"""

import argparse
import itertools
import json
import math
import os
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3MoeConfig, Qwen3MoeForCausalLM

from ream.calibration.builtin import NAMES, documents

ROOT = Path(__file__).resolve().parent
CACHE = ROOT.parent / ".cache" / "train-demo"
OUT = ROOT / "demo-model"
END = "<|endoftext|>"
# Qwen's own splitting rule: words with their leading space, single digits, runs of punctuation, line ends.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VOCABULARY, LENGTH, BATCH = 4096, 512, 8
LEARNING_RATE, WARMUP, WEIGHT_DECAY = 3e-3, 200, 0.1
BALANCE, Z_LOSS = 0.01, 1e-4
MATH_CHARS = 12_000_000


def texts(name: str, split: str, chars: int) -> list[str]:
    found, total = [], 0
    for document in documents(name, split, seed=0):
        found.append(document.text)
        total += len(document.text)
        if total >= chars:
            break
    return found


def train_tokenizer(corpora: dict[str, list[str]]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    sample = itertools.chain.from_iterable(_first_chars(documents_, 3_000_000) for documents_ in corpora.values())
    tokenizer.train_from_iterator(sample, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=LENGTH * 2
    )


def _first_chars(corpus: list[str], chars: int) -> list[str]:
    lengths = itertools.accumulate(map(len, corpus))
    return [text for text, length in zip(corpus, lengths, strict=False) if length <= chars]


def encode(tokenizer: PreTrainedTokenizerFast, corpus: list[str]) -> torch.Tensor:
    """All documents of a corpus as one stream of tokens, each followed by the end token. [T], int64."""
    rows = tokenizer(corpus, add_special_tokens=False)["input_ids"]
    return torch.tensor([token for row in rows for token in [*row, tokenizer.eos_token_id]])


def build_model() -> Qwen3MoeForCausalLM:
    config = Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=384,
        moe_intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=32,
        num_experts_per_tok=4,
        norm_topk_prob=True,
        router_aux_loss_coef=BALANCE,
        tie_word_embeddings=True,
        max_position_embeddings=2 * LENGTH,
        rope_theta=10_000.0,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    config._experts_implementation = "grouped_mm"
    torch.manual_seed(0)
    return Qwen3MoeForCausalLM(config)


class Balance:
    """Switch-Transformer load-balancing loss (Fedus et al. 2021, Eq. 4), a layer at a time, from the gates' outputs."""

    def __init__(self, model: Qwen3MoeForCausalLM) -> None:
        self.outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(lambda _, __, out: self.outputs.append((out[0], out[2])))

    def take(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(auxiliary loss, [layers, N] share of the routed tokens each expert got); forgets what it saw."""
        loss, shares = torch.zeros(()), []
        for logits, indices in self.outputs:
            experts = logits.shape[-1]
            share = torch.bincount(indices.flatten(), minlength=experts).float() / indices.numel()
            probabilities = logits.float().softmax(-1).mean(0)
            loss = loss + BALANCE * experts * (share * probabilities).sum()
            loss = loss + Z_LOSS * logits.float().logsumexp(-1).square().mean()
            shares.append(share)
        self.outputs.clear()
        return loss, torch.stack(shares)


def batch_of(streams: dict[str, torch.Tensor], step: int) -> torch.Tensor:
    """[BATCH, LENGTH + 1] windows of the three streams in turn; a function of the step alone."""
    draw = random.Random(f"batch/{step}")
    names = list(streams)
    rows = []
    for row in range(BATCH):
        stream = streams[names[(step * BATCH + row) % len(names)]]
        start = draw.randrange(len(stream) - LENGTH - 1)
        rows.append(stream[start : start + LENGTH + 1])
    return torch.stack(rows)


def cross_entropy(model: Qwen3MoeForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    return F.cross_entropy(model.lm_head(hidden).flatten(0, 1), tokens[:, 1:].flatten())


def rate(step: int, steps: int, decay: int) -> float:
    return LEARNING_RATE * min(1.0, (step + 1) / WARMUP, (steps - step) / decay)


def optimizer_of(model: Qwen3MoeForCausalLM) -> torch.optim.AdamW:
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), eps=1e-9, fused=True)


def save_state(model: Qwen3MoeForCausalLM, optimizer: torch.optim.AdamW, step: int) -> None:
    tensors = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        tensors |= {
            f"{name}|value": parameter.detach(),
            f"{name}|mean": state["exp_avg"],
            f"{name}|var": state["exp_avg_sq"],
        }
    CACHE.mkdir(parents=True, exist_ok=True)
    save_file(tensors, CACHE / "state.tmp", metadata={"step": str(step)})
    os.replace(CACHE / "state.tmp", CACHE / f"state-{step:06d}.safetensors")


def load_state(model: Qwen3MoeForCausalLM, optimizer: torch.optim.AdamW, limit: int) -> int:
    saved = [path for path in sorted(CACHE.glob("state-*.safetensors")) if int(path.stem.split("-")[1]) <= limit]
    if not saved:
        return 0
    step, tensors = int(saved[-1].stem.split("-")[1]), load_file(saved[-1])
    for name, parameter in model.named_parameters():
        parameter.data.copy_(tensors[f"{name}|value"])
        optimizer.state[parameter] = {
            "step": torch.tensor(float(step)),
            "exp_avg": tensors[f"{name}|mean"],
            "exp_avg_sq": tensors[f"{name}|var"],
        }
    return step


@torch.no_grad()
def evaluate(
    model: Qwen3MoeForCausalLM, balance: Balance, streams: dict[str, torch.Tensor], rows: int
) -> tuple[dict[str, float], torch.Tensor]:
    """Held-out loss of each source in nats a token, and the [layers, N] usage of mixed text (1 = fair share)."""
    losses, usage = {}, []
    model.eval()
    for name, stream in streams.items():
        windows = stream[: rows * (LENGTH + 1)].view(-1, LENGTH + 1)
        values = [cross_entropy(model, part).item() * len(part) for part in windows.split(BATCH)]
        usage.append(torch.stack([*_shares(balance)]).view(len(values), -1, model.config.num_experts).mean(0))
        losses[name] = sum(values) / len(windows)
    model.train()
    return losses, torch.stack(usage).mean(0) * model.config.num_experts


def _shares(balance: Balance) -> torch.Tensor:
    return balance.take()[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000, help="steps in all")
    parser.add_argument("--decay", type=int, default=1500, help="steps at the end over which the rate falls to zero")
    parser.add_argument("--log", type=int, default=50, help="steps between lines of the log")
    parser.add_argument("--save", type=int, default=500, help="steps between saved states")
    arguments = parser.parse_args()
    started = time.time()
    corpora = {name: texts(name, "train", MATH_CHARS if name == "math" else 10**12) for name in NAMES}
    held_out = {name: texts(name, "held-out", 1_000_000) for name in NAMES}
    if (CACHE / "tokenizer" / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(CACHE / "tokenizer")
    else:
        tokenizer = train_tokenizer(corpora)
        tokenizer.save_pretrained(CACHE / "tokenizer")
    streams = {name: encode(tokenizer, corpus) for name, corpus in corpora.items()}
    checks = {name: encode(tokenizer, corpus) for name, corpus in held_out.items()}
    sizes = {name: len(stream) for name, stream in streams.items()}
    print(f"tokens {sizes}, {time.time() - started:.0f} s to read", flush=True)
    model = build_model()
    balance, optimizer = Balance(model), optimizer_of(model)
    first = load_state(model, optimizer, arguments.steps)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, from step {first}", flush=True)
    clock, running = time.time(), math.nan
    for step in range(first, arguments.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, arguments.steps, arguments.decay)
        loss = cross_entropy(model, batch_of(streams, step))
        auxiliary, _ = balance.take()
        (loss + auxiliary).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        running = loss.item() if math.isnan(running) else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % arguments.log == 0:
            pace = arguments.log * BATCH * LENGTH / (time.time() - clock)
            print(f"step {step + 1} loss {running:.3f} aux {auxiliary.item():.4f} {pace:.0f} tokens/s", flush=True)
            clock = time.time()
        if (step + 1) % arguments.save == 0:
            save_state(model, optimizer, step + 1)
            losses, usage = evaluate(model, balance, checks, rows=24)
            print(f"  held-out {losses} least used expert {usage.min().item():.2f} of fair share", flush=True)
    model.to(torch.bfloat16).float()
    losses, usage = evaluate(model, balance, checks, rows=128)
    facts = {
        "steps": arguments.steps,
        "decay": arguments.decay,
        "tokens_seen": arguments.steps * BATCH * LENGTH,
        "train_tokens": sizes,
        "held_out_loss": losses,
        "least_used_expert": usage.min(-1).values.tolist(),
        "most_used_expert": usage.max(-1).values.tolist(),
    }
    model.to(torch.bfloat16).save_pretrained(OUT, max_shard_size="4MB")
    tokenizer.save_pretrained(OUT)
    config = json.loads((OUT / "config.json").read_text())
    config["num_experts"] = config.pop("num_local_experts")  # the key that Qwen3-MoE checkpoints on the hub have
    (OUT / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (ROOT / "demo-training.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
