"""Whole walks over a generated model: `python -m benchmarks.walks --layers 6 --methods reap ream [--device cuda] ...`.

The model has layers of a public model's shape and random weights, the tokens are random, and each method runs from
tokens to written checkpoint in a process of its own. Seconds of the fit are projected to the public model's layers;
writing, imports and the first reading are not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.speed_shapes import SHAPES

ROOT = Path(__file__).parents[1]
LENGTH = 512


def build(folder: Path, options: argparse.Namespace) -> int:
    """Write the model and its tokens, and return the bytes of the model."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = dict(SHAPES[options.shape].config, num_hidden_layers=options.layers)
    if options.experts is not None:
        values["num_experts"] = options.experts
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    torch.manual_seed(0)
    dtype = getattr(torch, options.dtype)
    with torch.device("cuda" if options.device == "cuda" else "cpu"):
        AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(folder / "model")
    ids = np.random.default_rng(0).integers(0, config.vocab_size, (options.sequences, LENGTH))
    pq.write_table(pa.table({"source": ["own"] * len(ids), "input_ids": list(ids)}), folder / "tokens.parquet")
    return sum(path.stat().st_size for path in (folder / "model").glob("*.safetensors"))


def fit(folder: Path, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """What `benchmarks.fit` prints for a method."""
    kept = round((options.experts or SHAPES[options.shape].config["num_experts"]) * 3 / 4)
    settings = [f"compute.device={options.device}", f"compute.dtype={options.dtype}", *options.set]
    command = [sys.executable, "-m", "benchmarks.fit", folder / "model", folder / "tokens.parquet", kept, method]
    done = subprocess.run([str(part) for part in [*command, *settings]], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{method} failed")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    del answer["kept"]
    return answer | {"projected_seconds": answer["seconds"] * SHAPES[options.shape].layers / options.layers}


def main() -> None:
    """Measure every method, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=[name for name in SHAPES if "qwen3_moe" in str(SHAPES[name])],
                        default="qwen3-30b-a3b")  # fmt: skip
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--experts", type=int, help="fewer than the shape has")
    parser.add_argument("--sequences", type=int, default=3072, help=f"of {LENGTH} tokens")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--methods", nargs="+", default=["reap", "ream"])
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ream-walks-") as folder:
        began = time.perf_counter()
        size = build(Path(folder), options)
        print(f"{options.layers} layers of {options.shape}, {size / 1e9:.2f} GB, {options.sequences} × {LENGTH} tokens "
              f"in {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
        print("| method | fit | of it processor | with reading headers and writing | fit of all layers, projected |")
        print("| --- | --- | --- | --- | --- |")
        results = {}
        for method in options.methods:
            results[method] = result = fit(Path(folder), method, options)
            print(f"| `{method}` | {result['seconds']:.1f} s | {result['cpu_seconds']:.1f} s | "
                  f"{result['whole_seconds']:.1f} s | {result['projected_seconds']:.0f} s |", flush=True)  # fmt: skip
    if options.out:
        facts = {name: value for name, value in vars(options).items() if name not in ("out", "methods")}
        options.out.write_text(json.dumps(facts | {"bytes": size, "methods": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
