"""Train the study's other two models, of other kinds than the demo model, on the same built-in text sources.

    python data/train_study.py glm --steps 3500 --decay 900         # from scratch, or from the last saved state
    python data/train_study.py mixtral --steps 3500 --decay 900

``glm`` is like GLM-4.5: a sigmoid router with a correction bias that balances the experts (DeepSeek-V3, arXiv
2412.19437, Sec. 2.1.2), a shared expert, a dense first layer, 24 experts. ``mixtral`` is like Mixtral: 8 wide experts,
two a token, and a tokenizer with byte fallback that begins every text with BOS. Each has a tokenizer of its own and
draws the text in another order than the demo model. The split of the text is the one of the built-in sources: with
another one, the model would have been trained on text that ``ream`` later calls held-out.

The learning rate and the saved states are those of ``train_demo.py``: a run can be continued, or ended early from a
saved state, as if it had been planned that way. Every save also writes the model as it is then.
"""

import argparse
import itertools
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from train_demo import LEARNING_RATE, WARMUP, cross_entropy, first_chars, optimizer_of
from transformers import (
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ream.calibration.builtin import NAMES, documents
from ream.calibration.document import Split

ROOT = Path(__file__).resolve().parent
VOCABULARY, LENGTH, BATCH = 2560, 256, 8
BALANCE, Z_LOSS, BIAS_RATE = 0.01, 1e-4, 2e-3
TRAIN_CHARS, TOKENIZER_CHARS, HELD_OUT_CHARS = 9_000_000, 2_000_000, 600_000
# GPT-4's rule for splitting text: words with the character before them, numbers of up to three digits, punctuation.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Kind:
    """What one of the two models is made of.

    Attributes:
        seed: of the weights, of the text's order and of the batches.
        tokenizer: trains the tokenizer on an iterator of texts.
        model: builds the untrained model.
        biased: balance by the router's correction bias, not by a loss.
    """

    seed: int
    tokenizer: Callable[[itertools.chain[str]], PreTrainedTokenizerFast]
    model: Callable[[], PreTrainedModel]
    biased: bool


def byte_level(sample: itertools.chain[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the end and user tokens of GLM."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(pattern=Regex(PATTERN), behavior="isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|user|>", "<|assistant|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>", model_max_length=1024
    )


def with_byte_fallback(sample: itertools.chain[str]) -> PreTrainedTokenizerFast:
    """A BPE tokenizer on characters with byte fallback, as Llama's and Mixtral's; it adds BOS."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"▁*[^▁\n\d]+|▁+|\n+|\d"), behavior="isolated")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=300,
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", model_max_length=1024
    )


def glm() -> PreTrainedModel:
    """An untrained GLM-4.5: dense first layer, then 24 experts, four a token, and one shared expert."""
    config = Glm4MoeConfig(
        **SHAPE,
        intermediate_size=320,
        moe_intermediate_size=80,
        n_routed_experts=24,
        num_experts_per_tok=4,
        n_shared_experts=1,
        routed_scaling_factor=1.5,
        first_k_dense_replace=1,
        num_nextn_predict_layers=0,
        use_qk_norm=True,
        eos_token_id=0,
        pad_token_id=0,
    )
    return _with_grouped_products(Glm4MoeForCausalLM, config)


def mixtral() -> PreTrainedModel:
    """An untrained Mixtral: four layers of 8 wide experts, two a token."""
    config = MixtralConfig(
        **SHAPE,
        intermediate_size=240,
        num_local_experts=8,
        num_experts_per_tok=2,
        router_aux_loss_coef=BALANCE,
        rope_theta=10_000.0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _with_grouped_products(MixtralForCausalLM, config)


def _with_grouped_products(kind: type[PreTrainedModel], config: Glm4MoeConfig | MixtralConfig) -> PreTrainedModel:
    config._experts_implementation = "grouped_mm"
    return kind(config)


KINDS = {
    "glm": Kind(seed=1, tokenizer=byte_level, model=glm, biased=True),
    "mixtral": Kind(seed=2, tokenizer=with_byte_fallback, model=mixtral, biased=False),
}


class Gates:
    """The routers of a model: their load, and what balances it.

    Args:
        model: the model; hooks on its routers record their outputs.
        biased: balance by correction bias instead of by a loss.
    """

    def __init__(self, model: PreTrainedModel, biased: bool) -> None:
        self.biased = biased
        self.routers = [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]
        self.outputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for router in self.routers:
            router.register_forward_hook(lambda _, __, out: self.outputs.append((out[0].float(), out[2])))

    def take(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The balancing loss since the last call, and each expert's share of the routed tokens [layers, N].

        Biased routers have no balancing loss: `nudge` moves their bias. Others have the loss of the Switch
        Transformer (Fedus et al. 2021, Eq. 4) and the z-loss.
        """
        loss, shares = torch.zeros(()), []
        for logits, indices in self.outputs:
            experts = logits.shape[-1]
            share = torch.bincount(indices.flatten(), minlength=experts).float() / indices.numel()
            if not self.biased:
                loss = loss + BALANCE * experts * (share * logits.softmax(-1).mean(0)).sum()
                loss = loss + Z_LOSS * logits.logsumexp(-1).square().mean()
            shares.append(share)
        self.outputs.clear()
        return loss, torch.stack(shares)

    def nudge(self, shares: torch.Tensor) -> None:
        """Raise the bias of the experts with fewer tokens than their equal share, and lower that of the others."""
        if self.biased:
            for router, share in zip(self.routers, shares, strict=True):
                router.e_score_correction_bias += BIAS_RATE * (share.mean() - share).sign()


def texts(name: str, split: Split, chars: int, seed: int) -> list[str]:
    """The first documents of a source and split, in the order of a seed, of at least ``chars`` characters together."""
    collected, total = [], 0
    for document in documents(name, split, seed=seed):
        collected.append(document.text)
        total += len(document.text)
        if total >= chars:
            break
    return collected


def encode(tokenizer: PreTrainedTokenizerFast, corpus: list[str]) -> torch.Tensor:
    """[T] int64: the tokens of all documents, each with the tokenizer's own special tokens and the end token."""
    rows = tokenizer(corpus)["input_ids"]
    return torch.tensor([token for row in rows for token in [*row, tokenizer.eos_token_id]])


def batch_of(streams: dict[str, torch.Tensor], step: int, seed: int) -> torch.Tensor:
    """[BATCH, LENGTH + 1] windows of the three streams in turn; they depend on the step and the seed only."""
    draw, names, rows = random.Random(f"batch/{seed}/{step}"), list(streams), []
    for row in range(BATCH):
        stream = streams[names[(step * BATCH + row) % len(names)]]
        start = draw.randrange(len(stream) - LENGTH - 1)
        rows.append(stream[start : start + LENGTH + 1])
    return torch.stack(rows)


def save_state(model: PreTrainedModel, optimizer: torch.optim.AdamW, folder: Path, step: int) -> None:
    """Save weights, buffers and moments after ``step`` steps."""
    tensors = {f"{name}|buffer": buffer for name, buffer in model.named_buffers()}
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        tensors[f"{name}|value"] = parameter.detach()
        tensors |= {f"{name}|{key}": state[key] for key in ("exp_avg", "exp_avg_sq")}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "state.tmp")
    os.replace(folder / "state.tmp", folder / f"state-{step:06d}.safetensors")


def load_state(model: PreTrainedModel, optimizer: torch.optim.AdamW, folder: Path, limit: int) -> int:
    """Load the last saved state of at most ``limit`` steps, and return its step; 0 if there is none."""
    saved = [path for path in sorted(folder.glob("state-*.safetensors")) if int(path.stem.split("-")[1]) <= limit]
    if not saved:
        return 0
    step, tensors = int(saved[-1].stem.split("-")[1]), load_file(saved[-1])
    for name, buffer in model.named_buffers():
        buffer.copy_(tensors[f"{name}|buffer"])
    for name, parameter in model.named_parameters():
        parameter.data.copy_(tensors[f"{name}|value"])
        moments = {key: tensors[f"{name}|{key}"] for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step


@torch.no_grad()
def evaluate(
    model: PreTrainedModel, gates: Gates, streams: dict[str, torch.Tensor], windows: int
) -> tuple[dict[str, float], torch.Tensor]:
    """Held-out loss of each source in nats a token, and the experts' use [layers, N], 1 for an equal share."""
    losses, shares = {}, []
    model.eval()
    for name, stream in streams.items():
        rows = stream[: windows * (LENGTH + 1)].view(-1, LENGTH + 1)
        losses[name] = sum(cross_entropy(model, part).item() * len(part) for part in rows.split(BATCH)) / len(rows)
        layers = len(gates.routers)
        recorded = gates.take()[1]
        shares.append(recorded.view(-1, layers, recorded.shape[-1]).mean(0))
    model.train()
    usage = torch.stack(shares).mean(0)
    return losses, usage * usage.shape[-1]


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, kind: Kind, out: Path) -> PreTrainedModel:
    """Write the weights in bfloat16 and the tokenizer; returns a copy of the model with the weights as written."""
    copy = kind.model()
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16)
    copy.save_pretrained(out, max_shard_size="4MB")
    tokenizer.save_pretrained(out)
    return copy.float()


def parse_arguments() -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--steps", type=int, default=3500, help="total number of steps")
    parser.add_argument("--decay", type=int, default=900, help="steps at the end over which the rate falls to zero")
    parser.add_argument("--log", type=int, default=50, help="steps between lines of the log")
    parser.add_argument("--save", type=int, default=250, help="steps between saved states")
    parser.add_argument("--out", type=Path, help="folder of the model; data/study-KIND by default")
    return parser.parse_args()


def main() -> None:
    """Train one model from the last saved state on, and write it with its training facts."""
    arguments = parse_arguments()
    kind, cache = KINDS[arguments.kind], ROOT.parent / ".cache" / f"train-{arguments.kind}"
    out = arguments.out or ROOT / f"study-{arguments.kind}"
    corpora = {name: texts(name, "train", TRAIN_CHARS, kind.seed) for name in NAMES}
    if (cache / "tokenizer" / "tokenizer.json").exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(cache / "tokenizer")
    else:
        tokenizer = kind.tokenizer(
            itertools.chain.from_iterable(first_chars(corpus, TOKENIZER_CHARS) for corpus in corpora.values())
        )
        tokenizer.save_pretrained(cache / "tokenizer")
    streams = {name: encode(tokenizer, corpus) for name, corpus in corpora.items()}
    held_out = {name: encode(tokenizer, texts(name, "held-out", HELD_OUT_CHARS, kind.seed)) for name in NAMES}
    print("tokens", {name: len(stream) for name, stream in streams.items()}, flush=True)
    torch.manual_seed(kind.seed)
    model = kind.model()
    gates = Gates(model, kind.biased)
    steps_taken = train(model, gates, streams, held_out, tokenizer, arguments, cache, out)
    written = write_model(model, tokenizer, kind, out)
    losses, usage = evaluate(written, Gates(written, kind.biased), held_out, windows=128)
    facts = {
        "steps": steps_taken,
        "decay": arguments.decay,
        "tokens_seen": steps_taken * BATCH * LENGTH,
        "train_tokens": {name: len(stream) for name, stream in streams.items()},
        "held_out_loss": losses,
        "least_used_expert": usage.min(-1).values.tolist(),
        "most_used_expert": usage.max(-1).values.tolist(),
    }
    (out / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts, indent=1))


def train(
    model: PreTrainedModel,
    gates: Gates,
    streams: dict[str, torch.Tensor],
    held_out: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerFast,
    arguments: argparse.Namespace,
    cache: Path,
    out: Path,
) -> int:
    """Train from the last saved state on, log, save states and models as the arguments say; returns the steps."""
    kind, optimizer = KINDS[arguments.kind], optimizer_of(model)
    first = load_state(model, optimizer, cache, arguments.steps)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, from step {first}", flush=True)
    clock, running = time.time(), math.nan
    for step in range(first, arguments.steps):
        decayed = min(1.0, (step + 1) / WARMUP, (arguments.steps - step) / arguments.decay)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * decayed
        loss = cross_entropy(model, batch_of(streams, step, kind.seed))
        auxiliary, shares = gates.take()
        (loss + auxiliary).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        gates.nudge(shares)
        running = loss.item() if math.isnan(running) else 0.98 * running + 0.02 * loss.item()
        if (step + 1) % arguments.log == 0:
            pace = arguments.log * BATCH * LENGTH / (time.time() - clock)
            print(f"step {step + 1} loss {running:.3f} {pace:.0f} tokens/s", flush=True)
            clock = time.time()
        if (step + 1) % arguments.save == 0:
            save_state(model, optimizer, cache, step + 1)
            write_model(model, tokenizer, kind, out)
            losses, usage = evaluate(model, gates, held_out, windows=24)
            print(f"  held-out {losses}, experts' shares {usage.min():.2f} to {usage.max():.2f}", flush=True)
    return int(arguments.steps)


if __name__ == "__main__":
    main()
