"""Train the demo model: a small Qwen3-MoE, on equal thirds of the three built-in text sources.

    python data/train_demo.py --steps 6000 --decay 1500          # from scratch, or from the last saved state

The learning rate is constant after a warm-up and falls linearly to zero over the last ``--decay`` steps. A run can
therefore be continued or ended early from a saved state as if it had been planned that way. States are saved in
``.cache/train-demo`` (safetensors); transformers writes the model to ``data/demo-model``.
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
from ream.calibration.document import Split

ROOT = Path(__file__).resolve().parent
CACHE = ROOT.parent / ".cache" / "train-demo"
OUT = ROOT / "demo-model"
END = "<|endoftext|>"
# Qwen's rule for splitting text: words with their leading space, single digits, runs of punctuation, line ends.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
VOCABULARY, LENGTH, BATCH = 4096, 512, 8
LEARNING_RATE, WARMUP, WEIGHT_DECAY = 3e-3, 200, 0.1
BALANCE, Z_LOSS = 0.01, 1e-4
MATH_CHARS = 12_000_000


def texts(name: str, split: Split, chars: int) -> list[str]:
    """The first documents of a source and split that have at least ``chars`` characters together."""
    collected, total = [], 0
    for document in documents(name, split, seed=0):
        collected.append(document.text)
        total += len(document.text)
        if total >= chars:
            break
    return collected


def train_tokenizer(corpora: dict[str, list[str]]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, trained on the first 3 M characters of each corpus."""
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
    sample = itertools.chain.from_iterable(first_chars(corpus, 3_000_000) for corpus in corpora.values())
    tokenizer.train_from_iterator(sample, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, model_max_length=LENGTH * 2
    )


def first_chars(corpus: list[str], chars: int) -> list[str]:
    """The first documents of a corpus that have at most ``chars`` characters together."""
    lengths = itertools.accumulate(map(len, corpus))
    return [text for text, length in zip(corpus, lengths, strict=False) if length <= chars]


def encode(tokenizer: PreTrainedTokenizerFast, corpus: list[str]) -> torch.Tensor:
    """[T] int64: the tokens of all documents of a corpus, each document followed by the end token."""
    rows = tokenizer(corpus, add_special_tokens=False)["input_ids"]
    return torch.tensor([token for row in rows for token in [*row, tokenizer.eos_token_id]])


def build_model() -> Qwen3MoeForCausalLM:
    """The untrained model, with random weights of seed 0."""
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
    """Load-balancing loss of the Switch Transformer (Fedus et al. 2021, Eq. 4) and z-loss, from the gates' outputs.

    Args:
        model: the model; hooks on its gates record their outputs.
    """

    def __init__(self, model: Qwen3MoeForCausalLM) -> None:
        self.outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for layer in model.model.layers:
            layer.mlp.gate.register_forward_hook(lambda _, __, out: self.outputs.append((out[0], out[2])))

    def take(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The auxiliary loss of the forward passes since the last call, and the experts' shares of the tokens.

        Returns:
            loss: balancing loss and z-loss, weighted and summed over the layers.
            shares: [layers, N] fraction of the routed tokens that each expert got.
        """
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
    """[BATCH, LENGTH + 1] windows of the three streams in turn; they depend on the step only."""
    draw = random.Random(f"batch/{step}")
    names = list(streams)
    rows = []
    for row in range(BATCH):
        stream = streams[names[(step * BATCH + row) % len(names)]]
        start = draw.randrange(len(stream) - LENGTH - 1)
        rows.append(stream[start : start + LENGTH + 1])
    return torch.stack(rows)


def cross_entropy(model: Qwen3MoeForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    """Mean next-token loss of windows [n, L + 1], in nats a token."""
    hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
    return F.cross_entropy(model.lm_head(hidden).flatten(0, 1), tokens[:, 1:].flatten())


def rate(step: int, steps: int, decay: int) -> float:
    """Learning rate of a step: linear warm-up, constant, linear decay over the last ``decay`` of ``steps`` steps."""
    return LEARNING_RATE * min(1.0, (step + 1) / WARMUP, (steps - step) / decay)


def optimizer_of(model: Qwen3MoeForCausalLM) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), eps=1e-9, fused=True)


def save_state(model: Qwen3MoeForCausalLM, optimizer: torch.optim.AdamW, step: int) -> None:
    """Save weights and moments after ``step`` steps to CACHE."""
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
    """Load the last saved state of at most ``limit`` steps, and return its step; 0 if there is none."""
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
    """Held-out loss and use of the experts.

    Args:
        model: the model, which is left in training mode.
        balance: records of the model's gates.
        streams: held-out tokens [T] of each source.
        rows: windows of each source to evaluate on.

    Returns:
        losses: mean loss of each source, in nats a token.
        usage: [layers, N] share of the tokens of all sources together that each expert got; 1 is an equal share.
    """
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


def parse_arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000, help="total number of steps")
    parser.add_argument("--decay", type=int, default=1500, help="steps at the end over which the rate falls to zero")
    parser.add_argument("--log", type=int, default=50, help="steps between lines of the log")
    parser.add_argument("--save", type=int, default=500, help="steps between saved states")
    return parser.parse_args()


def load_tokenizer(corpora: dict[str, list[str]]) -> PreTrainedTokenizerFast:
    """The tokenizer of an earlier run, or one that is trained on the corpora and saved to CACHE."""
    folder = CACHE / "tokenizer"
    if (folder / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer = train_tokenizer(corpora)
    tokenizer.save_pretrained(folder)
    return tokenizer


def train(
    model: Qwen3MoeForCausalLM,
    balance: Balance,
    streams: dict[str, torch.Tensor],
    held_out: dict[str, torch.Tensor],
    arguments: argparse.Namespace,
) -> None:
    """Train from the last saved state on; log the loss and save states as the arguments say.

    Args:
        model: the model.
        balance: records of the model's gates.
        streams: training tokens [T] of each source.
        held_out: held-out tokens [T] of each source.
        arguments: see `parse_arguments`.
    """
    optimizer = optimizer_of(model)
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
            losses, usage = evaluate(model, balance, held_out, rows=24)
            print(f"  held-out {losses} least used expert {usage.min().item():.2f} of an equal share", flush=True)


def write_model(model: Qwen3MoeForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write the model in bfloat16 and the tokenizer to OUT, with the config keys of the checkpoints on the hub."""
    model.to(torch.bfloat16).save_pretrained(OUT, max_shard_size="4MB")
    tokenizer.save_pretrained(OUT)
    config = json.loads((OUT / "config.json").read_text())
    config["num_experts"] = config.pop("num_local_experts")  # the key in Qwen3-MoE checkpoints on the hub
    (OUT / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Train the model, write it, and write its training facts to data/demo-training.json."""
    arguments = parse_arguments()
    started = time.time()
    corpora = {name: texts(name, "train", MATH_CHARS if name == "math" else 10**12) for name in NAMES}
    held_out_texts = {name: texts(name, "held-out", 1_000_000) for name in NAMES}
    tokenizer = load_tokenizer(corpora)
    streams = {name: encode(tokenizer, corpus) for name, corpus in corpora.items()}
    held_out = {name: encode(tokenizer, corpus) for name, corpus in held_out_texts.items()}
    sizes = {name: len(stream) for name, stream in streams.items()}
    print(f"tokens {sizes}, {time.time() - started:.0f} s to read", flush=True)
    model = build_model()
    balance = Balance(model)
    train(model, balance, streams, held_out, arguments)
    model.to(torch.bfloat16).float()  # the losses are those of the weights that are written
    losses, usage = evaluate(model, balance, held_out, rows=128)
    facts = {
        "steps": arguments.steps,
        "decay": arguments.decay,
        "tokens_seen": arguments.steps * BATCH * LENGTH,
        "train_tokens": sizes,
        "held_out_loss": losses,
        "least_used_expert": usage.min(-1).values.tolist(),
        "most_used_expert": usage.max(-1).values.tolist(),
    }
    write_model(model, tokenizer)
    (ROOT / "demo-training.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
