"""Other tools on the same model and tokens, processor seconds of the fit alone.

    python -m benchmarks.peers [--times 5]                       REAP against llm-compressor
    python -m benchmarks.peers --authors CHECKOUT [--layers 1]   REAM against its authors' code

A random Qwen3-MoE of 6 layers with 64 experts (H 512, D 256, k 8), 16,384 tokens in sequences of 512, one thread,
float32. The tools run in turn, so that what else the machine does falls on all. A peer gets an environment of its own,
.venv-peers or .venv-authors; where it cannot be made, the reason is printed and nothing is compared. CHECKOUT is a
folder with a checkout of https://github.com/SamsungSAILMontreal/ream, which is not part of this repository.
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

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
LLM_COMPRESSOR = [".venv-peers", "llmcompressor==0.14.0"]
# transformers as the authors' requirements.txt has it; vLLM and lm-eval, which their scripts import, are not needed.
AUTHORS = [".venv-authors", "transformers==4.57.6", "scipy", "scikit-learn", "psutil", "tqdm", "pyarrow", "datasets"]
EXPERTS, KEPT, HIDDEN, WIDTH, TOP_K, VOCABULARY, LENGTH = 64, 48, 512, 256, 8, 4096, 512


def build_model(folder: Path, layers: int) -> Path:
    """Write the random model."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3MoeConfig

    config = Qwen3MoeConfig(
        num_hidden_layers=layers, num_experts=EXPERTS, num_experts_per_tok=TOP_K, hidden_size=HIDDEN,
        moe_intermediate_size=WIDTH, vocab_size=VOCABULARY, num_attention_heads=8, num_key_value_heads=4, head_dim=64,
        norm_topk_prob=True, max_position_embeddings=1024, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    written = json.loads((folder / "config.json").read_text())
    if "num_local_experts" in written:  # as transformers 5 writes it; checkpoints of the hub have the other name
        written["num_experts"] = written.pop("num_local_experts")
        (folder / "config.json").write_text(json.dumps(written, indent=2))
    return folder


def write_tokens(path: Path, tokens: int) -> Path:
    """Write random tokens in sequences of one length."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = np.random.default_rng(0).integers(0, VOCABULARY, (tokens // LENGTH, LENGTH))
    pq.write_table(pa.table({"source": ["own"] * len(ids), "input_ids": list(ids)}), path)
    return path


def python_with(name: str, *packages: str) -> Path | None:
    """The interpreter of an environment with torch and packages, made where it is missing; None where it cannot be.

    Args:
        name: of its folder in the repository.
        packages: to be installed; the first is imported to see whether they are there.
    """
    python = ROOT / name / "bin" / "python"
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    trial = f"import {packages[0].partition('=')[0]}"
    if not python.exists() or subprocess.run([python, "-c", trial], capture_output=True).returncode:
        print(f"making {name} with {packages[0]}: some minutes", flush=True)
        steps = [[sys.executable, "-m", "venv", ROOT / name]]
        steps += [[python, "-m", "pip", "install", "--quiet", *what] for what in ([torch], [torch, *packages])]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                reason = done.stderr.strip().splitlines()[-1]
                print(f"nothing to compare with, {packages[0]} cannot be installed: {reason}")
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
    """Print the seconds of every run, their medians and ratios, and how many kept experts the tools share."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--authors", type=Path, metavar="CHECKOUT")
    parser.add_argument("--methods", nargs="+", help="of ream [default: reap reap-sequential; with --authors, ream]")
    parser.add_argument("--set", nargs="+", default=[], dest="settings", metavar="SETTING", help="of ream")
    given = parser.parse_args()
    name, program = "llm-compressor", [HERE / "llm_compressor.py"]
    if given.authors is not None:
        name, program = "the authors' code", [HERE / "authors.py", given.authors.resolve()]
    python = python_with(*(LLM_COMPRESSOR if given.authors is None else AUTHORS))
    if python is None:
        return
    methods = given.methods or (["reap", "reap-sequential"] if given.authors is None else ["ream"])
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Path(folder) / "model", given.layers)
        tokens = write_tokens(Path(folder) / "tokens.parquet", given.tokens)
        own = [sys.executable, "-m", "benchmarks.fit", model, tokens, KEPT]
        settings = ["compute.device=cpu", "compute.dtype=float32", "compute.threads=1", *given.settings]
        runs = {name: [python, *program, model, tokens, KEPT, 1]}
        runs |= {method: [*own, method, *settings] for method in methods}
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
        for _ in range(given.times):
            for each, command in runs.items():
                answers[each].append(run(*command))
                print(f"{each:<18} {answers[each][-1]['cpu_seconds']:.1f} s", flush=True)
    medians = {name: statistics.median(answer["cpu_seconds"] for answer in each) for name, each in answers.items()}
    peer = answers[name][0].get("kept")
    for each, seconds in medians.items():
        line = f"{each:<18} median {seconds:.1f} s, {seconds / medians[name]:.2f} of {name}"
        if peer is not None:
            same = sum(len(set(a) & set(b)) for a, b in zip(answers[each][0]["kept"], peer, strict=True))
            line += f"; keeps {same} of its {given.layers * KEPT} experts"
        print(line)


if __name__ == "__main__":
    main()
