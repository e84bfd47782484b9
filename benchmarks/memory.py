"""Peak memory of `ream compress` on a generated checkpoint that is larger than that peak, against a limit.

    python benchmarks/memory.py [--folder FOLDER] [--layers 24] [--experts 128] [--hidden 1024] [--width 336] ...

The checkpoint has random bfloat16 weights in Qwen3-MoE's layout, a tensor for each expert and projection, in shards of
about 1.5 GB, with the demo model's tokenizer; the calibration tokens are random. Each method runs in a child process,
whose peak resident memory the kernel counts (VmHWM, which includes mapped libraries but not the page cache). The files
take about 1.6 times the checkpoint's size. They are removed at the end; --keep leaves the checkpoint.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ream.calibration.corpus import write_corpus
from ream.models.storage.checkpoint import INDEX
from ream.models.storage.shard_writing import OutputTensor, tensor_bytes, write_shard

ROOT = Path(__file__).resolve().parent.parent
SHARD_BYTES = 1.5e9
HEADS, HEAD_DIM = 8, 64
POLL_SECONDS = 0.05
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the generated model: layers, experts of a layer, hidden size, width of an expert, vocabulary, heads."""

    layers: int
    experts: int
    hidden: int
    width: int
    vocabulary: int
    heads: int = HEADS

    @property
    def layer(self) -> int:
        """Number of parameters of a decoder layer."""
        routed = self.experts * (3 * self.width + 1) * self.hidden
        return routed + 4 * self.heads * HEAD_DIM * self.hidden + 2 * HEAD_DIM + 2 * self.hidden


def shapes(sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the model's tensors, in the order of writing."""
    hidden, heads = sizes.hidden, sizes.heads * HEAD_DIM
    yield "model.embed_tokens.weight", (sizes.vocabulary, hidden)
    for layer in range(sizes.layers):
        prefix = f"model.layers.{layer}"
        yield f"{prefix}.input_layernorm.weight", (hidden,)
        for expert in range(sizes.experts):
            yield f"{prefix}.mlp.experts.{expert}.gate_proj.weight", (sizes.width, hidden)
            yield f"{prefix}.mlp.experts.{expert}.up_proj.weight", (sizes.width, hidden)
            yield f"{prefix}.mlp.experts.{expert}.down_proj.weight", (hidden, sizes.width)
        yield f"{prefix}.mlp.gate.weight", (sizes.experts, hidden)
        yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
        for name in ("k", "q", "v"):
            yield f"{prefix}.self_attn.{name}_proj.weight", (heads, hidden)
            if name != "v":
                yield f"{prefix}.self_attn.{name}_norm.weight", (HEAD_DIM,)
        yield f"{prefix}.self_attn.o_proj.weight", (hidden, heads)
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (sizes.vocabulary, hidden)


def random_tensor(name: str, shape: tuple[int, ...], generator: torch.Generator) -> OutputTensor:
    """A tensor that is drawn when it is written: vectors around 1, matrices of variance 1 / columns."""

    def make() -> list[bytes]:
        noise = torch.randn(shape, generator=generator)
        return [tensor_bytes((noise * shape[-1] ** -0.5 if len(shape) > 1 else 1 + 0.1 * noise).bfloat16())]

    return OutputTensor(name, "BF16", shape, make)


def generate(folder: Path, sizes: Sizes, seed: int = 0) -> int:
    """Write a checkpoint, a tensor at a time; returns the bytes of its shards.

    Args:
        folder: for the checkpoint; must exist.
        sizes: of the model.
        seed: of its weights.
    """
    shards = planned_shards(sizes, torch.Generator().manual_seed(seed))
    for name, tensors in shards.items():
        write_shard(folder / name, tensors)
    weight_map = {tensor.name: name for name, tensors in shards.items() for tensor in tensors}
    total = sum(tensor.bytes for tensors in shards.values() for tensor in tensors)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    config = json.loads((ROOT / "data" / "demo-model" / "config.json").read_text())
    config |= {
        "num_hidden_layers": sizes.layers, "num_experts": sizes.experts, "num_experts_per_tok": 8,
        "hidden_size": sizes.hidden, "moe_intermediate_size": sizes.width, "vocab_size": sizes.vocabulary,
        "num_attention_heads": sizes.heads, "num_key_value_heads": sizes.heads, "head_dim": HEAD_DIM,
        "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for name in TOKENIZER:
        shutil.copyfile(ROOT / "data" / "demo-model" / name, folder / name)
    return sum((folder / name).stat().st_size for name in shards)


def planned_shards(sizes: Sizes, generator: torch.Generator) -> dict[str, list[OutputTensor]]:
    """The tensors of each shard by file name; a shard is closed once it has more than SHARD_BYTES."""
    shards: list[list[OutputTensor]] = [[]]
    for name, shape in shapes(sizes):
        if sum(tensor.bytes for tensor in shards[-1]) > SHARD_BYTES:
            shards.append([])
        shards[-1].append(random_tensor(name, shape, generator))
    return {
        f"model-{number:05d}-of-{len(shards):05d}.safetensors": tensors
        for number, tensors in enumerate(shards, start=1)
    }


def write_tokens(path: Path, sequences: int, tokens: int, vocabulary: int) -> None:
    """Write a file of random calibration tokens: sequences of so many tokens each, ids below the vocabulary."""
    ids = np.random.default_rng(0).integers(vocabulary, size=(sequences, tokens)).tolist()
    write_corpus(path, [("own", row) for row in ids], {})


@dataclass(frozen=True)
class Measured:
    """What a child process used: peak resident bytes, wall seconds, bytes read and bytes written."""

    peak: int
    seconds: float
    read: int
    written: int


def measured(command: list[str], log: Path) -> Measured:
    """Run a command to its end and measure it.

    The kernel's high-water mark is read while the child runs. getrusage would report at least the memory of this
    process, which has generated the weights, because the child starts as a copy of it.

    Args:
        command: program and arguments.
        log: file for its output.

    Raises:
        SystemExit: the command fails; the message names its log.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    started, status, counts = time.monotonic(), {"VmHWM": "0"}, {"rchar": "0", "wchar": "0"}
    with open(log, "w", encoding="utf-8") as output:
        child = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    while child.poll() is None:
        time.sleep(POLL_SECONDS)
        latest = dict(line.split(":", 1) for line in Path(f"/proc/{child.pid}/status").read_text().splitlines())
        if "VmHWM" in latest:  # absent if the child has just ended
            status = latest
            counts = dict(line.split(": ") for line in Path(f"/proc/{child.pid}/io").read_text().splitlines())
    seconds = time.monotonic() - started
    if child.returncode:
        sys.exit(f"{' '.join(command)} failed; see {log}")
    return Measured(int(status["VmHWM"].split()[0]) * 1024, seconds, int(counts["rchar"]), int(counts["wchar"]))


def libraries(folder: Path) -> int:
    """Peak resident bytes of a process that only imports what a walk imports."""
    code = "import ream.compress.sequential, ream.models.decoder, transformers.models.qwen3_moe.modeling_qwen3_moe"
    return measured([sys.executable, "-c", code], folder / "libraries.log").peak


def compress_command(model: Path, out: Path, tokens: Path, method: str, options: argparse.Namespace) -> list[str]:
    """The `ream compress` command for the generated model.

    Args:
        model: folder of the model.
        out: folder for the output.
        tokens: file of calibration tokens.
        method: name in params.yaml.
        options: the command line; kept, threads and batch_tokens are read.
    """
    return [
        sys.executable, "-m", "ream.commands.cli", "compress", str(model), str(out), "--method", method,
        "--experts", str(options.kept), "--group-size", "16", "--calibration", str(tokens),
        "--set", f"compute.threads={options.threads}", "--set", f"compute.batch_tokens={options.batch_tokens}",
        "--device", "cpu",
        "--params", str(ROOT / "params.yaml"),
    ]  # fmt: skip


def parse() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"layers": 24, "experts": 128, "hidden": 1024, "width": 336, "vocabulary": 151_936}
    for name, default in (
        sizes | {"kept": 64, "sequences": 8, "tokens": 64, "batch-tokens": 256, "threads": 1}
    ).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--methods", nargs="+", default=["ream", "hc-smoe"])
    parser.add_argument("--limit-gb", type=float, default=3.0, help="fail if the peak is above so many GB")
    parser.add_argument("--folder", type=Path, help="for the files [default: a temporary folder]")
    parser.add_argument("--keep", action="store_true", help="keep the generated checkpoint for another run")
    return parser.parse_args()


def print_circumstances(folder: Path, model: Path, sizes: Sizes) -> None:
    """Print the sizes of the checkpoint, one layer, the embedding table and the libraries."""
    shards = [path.stat().st_size for path in model.glob("*.safetensors")]
    print(
        f"checkpoint: {sum(shards) / 1e9:.2f} GB in {len(shards)} shards, {sizes.layers} layers of {sizes.experts} "
        f"experts; one layer in float32: {4 * sizes.layer / 1e9:.2f} GB; embedding table in bfloat16: "
        f"{2 * sizes.vocabulary * sizes.hidden / 1e9:.2f} GB; libraries alone: {libraries(folder) / 1e9:.2f} GB"
    )


def main() -> None:
    """Generate the checkpoint, compress it with each method, print a table, remove the files."""
    options = parse()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ream-memory-"))
    sizes = Sizes(options.layers, options.experts, options.hidden, options.width, options.vocabulary)
    model, tokens = folder / "model", folder / "tokens.parquet"
    if not (model / INDEX).exists():
        model.mkdir(parents=True, exist_ok=True)
        generate(model, sizes)
    write_tokens(tokens, options.sequences, options.tokens, 4096)
    print_circumstances(folder, model, sizes)
    print("| method | peak (GB) | seconds | read (GB) | written (GB) |\n| --- | --- | --- | --- | --- |")
    worst = 0
    for method in options.methods:
        out = folder / f"out-{method}"
        shutil.rmtree(out, ignore_errors=True)
        used = measured(compress_command(model, out, tokens, method, options), folder / f"{method}.log")
        worst = max(worst, used.peak)
        row = f"| `{method}` | {used.peak / 1e9:.2f} | {used.seconds:.0f} | {used.read / 1e9:.1f} | "
        print(f"{row}{used.written / 1e9:.1f} |", flush=True)
        shutil.rmtree(out)
    if not options.keep:
        shutil.rmtree(folder if options.folder is None else model)
    if worst > options.limit_gb * 1e9:
        sys.exit(f"peak {worst / 1e9:.2f} GB is above {options.limit_gb} GB")


if __name__ == "__main__":
    main()
