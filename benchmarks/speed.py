"""Seconds, operations and fraction of the machine's matrix-product rate, for each part of compressing one layer.

    python -m benchmarks.speed --shape qwen3-30b-a3b [--experts 32] [--tokens 1024] [--seconds 60] ...

A checkpoint with one layer of that shape and random weights is written and read; all parts call the product's own
functions. Before and after every run of a part the machine multiplies large square matrices, THE YARDSTICK of all
shares, and matrices of the part's own shapes; every figure is the best of its repetitions. Other work on the same
cores slows parts and yardstick alike, but not always at the same moment: with one thread, --clock cpu counts
processor seconds instead of wall seconds. --experts builds fewer experts than the shape has; the projection scales
with experts, tokens and pairs where a part does. Random weights make other assignment problems than trained ones.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.speed_clock import Clock
from benchmarks.speed_layer import FULL_TOKENS, LENGTH, Layer
from benchmarks.speed_parts import CONTAINED, PARTS
from benchmarks.speed_shapes import SHAPES
from ream.models.runtime import device_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measurements of the parts asked for, their sum, and the circumstances.

    Args:
        folder: for the checkpoint.
        options: the command line.
    """
    device = device_of(options.device)
    clock = Clock(device, options.seconds / (2 * len(options.parts)), options.clock == "cpu", options.side)
    shape, dtype = SHAPES[options.shape], DTYPES[options.dtype]
    layer = Layer(folder, shape, clock, options.experts, options.tokens, options.pairs, dtype)
    for name in options.parts:
        part = PARTS[name](layer)
        layer.measured[name] = part  # after those that the part has added itself
    total = sum(part.projected for name, part in layer.measured.items() if name not in CONTAINED)
    return {
        "shape": options.shape, "device": str(device), "dtype": options.dtype, "threads": torch.get_num_threads(),
        "clock": options.clock, "tokens": layer.T, "experts": layer.N, "kept": layer.K,
        "real_experts": layer.real_experts, "yardstick_side": options.side, "load_average": os.getloadavg()[0],
        "parts": {name: asdict(part) for name, part in layer.measured.items()},
        "projected_layer_seconds": total, "projected_model_seconds": total * layer.shape.layers,
        "layers": layer.shape.layers,
    }  # fmt: skip


def table(result: dict[str, Any]) -> Table:
    """A table of the result, a row for each part."""
    caption = (
        f"{result['experts']} of {result['real_experts']} experts, {result['tokens']} tokens, {result['dtype']}, "
        f"{result['threads']} threads, {result['clock']} seconds, load {result['load_average']:.1f}. Projected: the "
        f"whole layer at {FULL_TOKENS} tokens; × {result['layers']} layers = "
        f"{result['projected_model_seconds'] / 3600:.2f} h without refit"
    )
    rows = Table(title=result["shape"], caption=caption)
    titles = ("part", "seconds", "GFLOP", "GFLOP/s", f"of {result['yardstick_side']}²", "of its shapes")
    for title in (*titles, "GB/s", "projected s"):
        rows.add_column(title, justify="left" if title == "part" else "right")
    for name, part in result["parts"].items():
        products = ("", "", "", "")
        if part["flops"]:
            products = (
                f"{part['flops'] / 1e9:.3g}", f"{part['rate'] / 1e9:.3g}", f"{part['share']:.0%}",
                f"{part['own_share']:.0%}",
            )  # fmt: skip
        speed = f"{part['gigabytes'] / part['seconds']:.2g}" if part["gigabytes"] else ""
        rows.add_row(name, f"{part['seconds']:.3g}", *products, speed, f"{part['projected']:.3g}")
    return rows


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The options of a command line, checked.

    Args:
        words: the command line without the program's name; None for this process's.

    Raises:
        SystemExit: an option is unknown or has a value that is not allowed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="demo")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--tokens", type=int, default=2048, help=f"a multiple of {LENGTH}, or fewer than that")
    parser.add_argument("--experts", type=int, help="build fewer than the shape has, to save memory")
    parser.add_argument("--pairs", type=int, default=2, help="pairs of experts to align")
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="for all parts together, besides reading and writing"
    )
    parser.add_argument("--side", type=int, default=1024, help="side of the yardstick's square matrices")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="write the result to this JSON file")
    options = parser.parse_args(words)
    least = max(4, 2 * options.pairs, int(SHAPES[options.shape].config["num_experts_per_tok"]))
    if options.experts is not None and not least <= options.experts:
        parser.error(f"--experts {options.experts}: this shape with --pairs {options.pairs} needs at least {least}")
    if options.clock == "cpu" and torch.get_num_threads() > 1:
        parser.error("--clock cpu counts the seconds of all threads together: set OMP_NUM_THREADS=1")
    if options.tokens < 1 or (options.tokens > LENGTH and options.tokens % LENGTH):
        parser.error(f"--tokens {options.tokens}: give a multiple of {LENGTH}, or fewer than that")
    return options


def main(words: list[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    options = parse(words)
    with tempfile.TemporaryDirectory(prefix="ream-speed-") as folder:
        result = measure(Path(folder), options)
    Console(width=None if sys.stdout.isatty() else 120).print(table(result))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
