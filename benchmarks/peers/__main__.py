"""REAP against llm-compressor, processor seconds of the fit alone: `python -m benchmarks.peers [--times 5]`.

A random Qwen3-MoE of 6 layers with 64 experts (H 512, D 256, k 8), 16,384 tokens in sequences of 512, one thread,
float32. The two run in turn, so that what else the machine does falls on both. llm-compressor gets an environment of
its own, .venv-peers; where it cannot be made, the reason is printed and nothing is compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENVIRONMENT = ROOT / ".venv-peers"
PEER = "llmcompressor==0.14.0"
LAYERS, EXPERTS, KEPT, HIDDEN, WIDTH, TOP_K, VOCABULARY, LENGTH = 6, 64, 48, 512, 256, 8, 4096, 512


def build_model(folder: Path) -> Path:
    """Write the random model."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    config = Qwen3MoeConfig(
        num_hidden_layers=LAYERS, num_experts=EXPERTS, num_experts_per_tok=TOP_K, hidden_size=HIDDEN,
        moe_intermediate_size=WIDTH, vocab_size=VOCABULARY, num_attention_heads=8, num_key_value_heads=4, head_dim=64,
        norm_topk_prob=True, max_position_embeddings=1024, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write_tokens(path: Path, tokens: int) -> Path:
    """Write random tokens in sequences of one length."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = np.random.default_rng(0).integers(0, VOCABULARY, (tokens // LENGTH, LENGTH))
    pq.write_table(pa.table({"source": ["own"] * len(ids), "input_ids": list(ids)}), path)
    return path


def peers_python() -> Path | None:
    """The interpreter of the environment with llm-compressor, made where it is missing; None where it cannot be."""
    python = ENVIRONMENT / "bin" / "python"
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    if subprocess.run([python, "-c", "import llmcompressor"], capture_output=True).returncode if python.exists() else 1:
        print(f"making {ENVIRONMENT} with {PEER}: some minutes", flush=True)
        steps = [[sys.executable, "-m", "venv", ENVIRONMENT]]
        steps += [[python, "-m", "pip", "install", "--quiet", *what] for what in ([torch], [torch, PEER])]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                print(f"nothing to compare with, {PEER} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
                return None
    return python


def run(*command: Any) -> dict[str, Any]:
    """The JSON that a process prints last."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, cwd=ROOT)
    if done.returncode:
        sys.exit(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def main() -> None:
    """Print the seconds of every run, the medians and their ratio, and how many kept experts the tools share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--methods", nargs="+", default=["reap", "reap-sequential"])
    given = parser.parse_args()
    python = peers_python()
    if python is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder) / "model")
        tokens = write_tokens(Path(folder) / "tokens.parquet", given.tokens)
        sizes = [model, tokens, KEPT, 1]
        own = [sys.executable, "-m", "benchmarks.fit", model, tokens, KEPT]
        settings = ["compute.device=cpu", "compute.dtype=float32", "compute.threads=1"]
        runs = {"llm-compressor": [python, Path(__file__).with_name("llm_compressor.py"), *sizes]}
        runs |= {method: [*own, method, *settings] for method in given.methods}
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
        for _ in range(given.times):
            for name, command in runs.items():
                answers[name].append(run(*command))
                print(f"{name:<16} {answers[name][-1]['cpu_seconds']:.1f} s", flush=True)
    medians = {name: statistics.median(answer["cpu_seconds"] for answer in each) for name, each in answers.items()}
    theirs, peer = medians["llm-compressor"], answers["llm-compressor"][0]["kept"]
    for name, seconds in medians.items():
        same = sum(len(set(a) & set(b)) for a, b in zip(answers[name][0]["kept"], peer, strict=True))
        print(f"{name:<16} median {seconds:.1f} s, {seconds / theirs:.2f} of llm-compressor; keeps {same} of its "
              f"{LAYERS * KEPT} experts")  # fmt: skip


if __name__ == "__main__":
    main()
