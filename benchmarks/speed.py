"""Seconds, operations and the share of the machine's matmul rate of each part of compressing one layer.

    python -m benchmarks.speed --shape qwen3-30b-a3b [--experts 32] [--tokens 1024] [--seconds 60] ...

A checkpoint of one layer of that shape with random weights is written and read; all parts are the product's own
functions. Before and after every run of a part the machine multiplies a large square matrix, THE YARDSTICK of all
shares, and matrices of the part's own shapes; every figure is the best of its repetitions. Other work on the same
cores slows parts and yardstick alike, but not always at the same moment: with one thread, --clock cpu counts the
processor's seconds in place of the wall's. --experts builds fewer experts than the shape has; the projection scales
what is in proportion to experts, tokens and pairs, and says so. Random weights make other assignment problems than
trained ones.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.speed_clock import Clock, Measured, Sides
from benchmarks.speed_shapes import SHAPES, Shape
from ream.core.alignment import cost_matrix, neuron_features
from ream.core.assignments import assignment
from ream.core.experts import Expert
from ream.core.grouping import Experts, Groups, grouped, merge_weights
from ream.core.merging import merged
from ream.core.recipe import LayerRecipe
from ream.core.refit.sums import CompressedExperts, RefitTokens, error_sums, gram_product, normal_sums
from ream.core.saliency import SALIENCIES
from ream.core.similarity import similarity
from ream.core.statistics import LayerStatistics, blocks_of
from ream.core.sums import Sums
from ream.estimate.flops import attention_flops
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of
from ream.models.inspection.inventory import inventory
from ream.models.inspection.planned import PlannedCheckpoint
from ream.models.moe_block import MoEBlock
from ream.models.runtime import device_of
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.shard_writing import OutputTensor, tensor_bytes, write_shard
from ream.recipe.apply import CompressedLayer

ROOT = Path(__file__).resolve().parent.parent
FULL_TOKENS, LENGTH, PROBES, REFIT_OUTPUTS = 3072 * 512, 512, 8192, 64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class TimedNorms(LayerStatistics):
    """Statistics that clock their routed norms; on a GPU that makes them wait, so nothing else is taken from these."""

    def __init__(self, clock: Clock, block: MoEBlock) -> None:
        """Args:
        clock: to use. block: whose experts.
        """
        super().__init__(block.experts, block.unit)
        self.clock, self.seconds = clock, 0.0

    def _norms(self, *arguments: Any) -> torch.Tensor:
        result: list[torch.Tensor] = []
        self.seconds += self.clock.once(lambda: result.append(super(TimedNorms, self)._norms(*arguments)))
        return result[0]


class Layer:
    """A layer of a shape on this machine, and its parts."""

    def __init__(self, folder: Path, shape: Shape, given: argparse.Namespace, clock: Clock) -> None:
        """Write the checkpoint of random weights and read it.

        Args:
            folder: for its files. shape: of the layer. given: the command line. clock: to time with.
        """
        key = "n_routed_experts" if "n_routed_experts" in shape.config else "num_experts"
        self.shape, self.clock, self.real_experts = shape, clock, int(shape.config[key])
        self.config = shape.config | {key: given.experts or self.real_experts}
        self.pairs = given.pairs
        (folder / "config.json").write_text(json.dumps(self.config | {"dtype": "bfloat16"}))
        planned = list(PlannedCheckpoint(folder).tensors.values())
        pool = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0))
        tensors = [OutputTensor(each.name, "BF16", each.shape, noise(pool, each.shape)) for each in planned]
        self.experts_share = self.real_experts / self.config[key]
        self.measured: dict[str, Measured] = {}

        def write() -> int:
            write_shard(folder / "model.safetensors", tensors)
            return (folder / "model.safetensors").stat().st_size

        writing = clock.moved(write, self.experts_share * shape.kept / self.real_experts)
        self.checkpoint = Checkpoint(folder)
        self.architecture = architecture_of(self.checkpoint)
        self.decoder = Decoder(self.checkpoint, self.architecture, clock.device, DTYPES[given.dtype])
        self.parts = inventory(self.checkpoint, self.architecture).layers[0]
        self.N, self.k = self.architecture.experts, self.architecture.top_k
        self.K = max(self.k, round(self.N * shape.kept / self.real_experts))
        self.H, self.D = self.architecture.hidden, self.architecture.width
        held: list[MoEBlock] = []

        def read() -> int:
            held.append(self.decoder.block(0))
            return self.parts.experts.bytes

        self.measured["reading"] = clock.moved(read, self.experts_share)
        self.measured["writing"] = writing
        self.block = held[0]
        self.T, self.length = given.tokens, min(LENGTH, given.tokens)
        self.full = FULL_TOKENS / self.T
        generator = torch.Generator().manual_seed(1)
        hidden = torch.randn(self.T // self.length, self.length, self.H, generator=generator)
        self.T = len(hidden) * self.length
        self.hidden = hidden.to(clock.device, self.decoder.dtype)
        self.x = self.hidden.flatten(0, 1)

    def groups(self) -> tuple[np.ndarray, Groups]:
        """Saliency, and groups of which the centroids absorb about as many each."""
        saliency = SALIENCIES["reap"](self.sums)
        alike = similarity(["gate-logits", "gated-output"], self.sums)
        return saliency, grouped("pseudo-pruning", Experts(saliency, alike), self.K, max(1, -(-self.N // self.K)))

    @cached_property
    def sums(self) -> Sums:
        """Of the tokens."""
        statistics = LayerStatistics(self.block.experts, self.block.unit)
        statistics.update(self.x, self.block.route(self.x))
        return statistics.result()

    def attention(self) -> Measured:
        """The decoder layer without its MoE block."""
        flops = self.T * (2.0 * self.parts.other.weights + attention_flops(self.config, 0, self.length))
        with self.decoder.layer(0) as layer:
            return self._product(lambda: layer(self.hidden), flops, (self.T, self.H, 2 * self.H), self.full)

    def statistics(self) -> Measured:
        """All experts on all tokens, routed norms and all; and then the sums' outputs."""
        routing = self.block.route(self.x)
        statistics = LayerStatistics(self.block.experts, self.block.unit)
        flops = self.T * (self.N * (4.0 * self.H * self.D + 4.0 * self.D) + self.k * 2.0 * self.H * self.D)
        own = (blocks_of(self.T, self.D, self.x.device).tokens, self.H, self.D)
        found = self._product(lambda: statistics.update(self.x, routing), flops, own, self.full * self.experts_share)
        timed = TimedNorms(self.clock, self.block)

        def norms() -> float:
            timed.seconds = 0.0
            timed.update(self.x, routing)
            return timed.seconds

        rows = max(1, self.T * self.k // self.N)
        dtype, per_pair = self.decoder.dtype, 2.0 * self.H * self.D
        routed = self.measured["of these, routed norms"] = self.clock.part(
            norms, self.T * self.k * per_pair, (rows, self.D, self.H), dtype, self.full
        )
        self.measured["outputs of the sums"] = self.clock.part(
            lambda: self.clock.once(statistics.result), 4.0 * self.N * self.H * self.D, (2, self.D, self.H),
            torch.float64, self.experts_share,
        )  # fmt: skip
        rest = (found.seconds - routed.seconds) * self.full * self.experts_share  # a token has k experts of any number
        return replace(found, projected=rest + routed.projected)

    def similarity(self) -> Measured:
        """Eq. 7, from the sums; on the host."""
        flops, own = 2.0 * self.N**2 * self.H, (self.N, self.H, self.N)
        return self.clock.part(
            lambda: self.clock.once(lambda: similarity(["gate-logits", "gated-output"], self.sums)), flops, own,
            torch.float64, self.experts_share**2,
        )  # fmt: skip

    def grouping(self) -> Measured:
        """Saliency, similarity and pseudo-pruning."""
        return self.clock.moved(lambda: len(self.groups()) * 0, self.experts_share**2)

    def alignment(self) -> Measured:
        """Features and cost matrices of some pairs; their assignments are another part."""
        tokens = min(PROBES, self.T)
        probes, experts = self.x[:tokens], self.block.experts
        costs: list[torch.Tensor] = []

        def cost() -> None:
            costs.clear()
            for pair in range(self.pairs):
                mine, theirs = (
                    neuron_features(experts[2 * pair + place], ["activations", "weights"], probes, self.block.unit)
                    for place in range(2)
                )
                costs.append(cost_matrix(mine, theirs))

        features = tokens + 3 * self.H

        def counted(probed: int) -> float:
            return 2.0 * probed * 4 * self.H * self.D + 2.0 * (probed + 3 * self.H) * self.D**2

        flops, more = self.pairs * counted(tokens), counted(PROBES) / counted(tokens)
        all_pairs = (self.real_experts - self.shape.kept) / self.pairs
        found = self.clock.part(
            lambda: self.clock.once(cost), flops, (self.D, features, self.D), torch.float64, all_pairs * more
        )

        def assign() -> int:
            for each in costs:
                assignment(each)
            return 0

        self.measured["assignment"] = self.clock.moved(assign, all_pairs)
        return found

    def merge(self) -> Measured:
        """Of one group of four experts, their neurons reordered."""
        members = [self.block.experts[position] for position in range(4)]
        orders = [None, *(torch.randperm(self.D, device=self.x.device) for _ in range(3))]
        all_groups = (self.real_experts - self.shape.kept) / 3

        def work() -> int:
            expert: Expert = merged(members, [0.25] * 4, orders)
            return 4 * 3 * expert.down.nbytes

        work()
        return self.clock.moved(work, all_groups)

    def refit(self) -> Measured:
        """The passes of a refit with one sweep, for some of the outputs; without solving."""
        routing, rows = self.block.route(self.x), torch.ones(self.T, dtype=torch.bool, device=self.x.device)
        tokens = RefitTokens(self.x, routing, torch.randn_like(self.x), rows)
        experts, some = CompressedExperts(self.block.experts, self.block.unit), min(REFIT_OUTPUTS, self.H)
        zeros = experts.zeros(self.N, some, self.D)

        def work() -> None:
            normal_sums(lambda: [tokens], experts)
            error_sums(lambda: [tokens], experts, slice(0, some))
            gram_product(lambda: [tokens], experts, zeros, zeros, slice(0, some))

        activations = 4.0 * self.H * self.D
        flops = self.T * self.k * (3 * activations + 2.0 * self.D**2 + 3 * 2.0 * some * self.D)
        own = (max(1, self.T * self.k // self.N), self.H, self.D)
        return self._product(work, flops, own, self.full)

    def propagate(self) -> Measured:
        """The compressed block's forward."""
        saliency, groups = self.groups()
        orders = {
            int(member): np.arange(self.D)[::-1].copy() for member in np.setdiff1d(np.arange(self.N), groups.kept)
        }
        recipe = LayerRecipe(groups, merge_weights(saliency, groups), saliency, orders)
        compressed: list[MoEBlock] = []

        def load() -> int:
            weights = CompressedLayer(self.checkpoint, self.architecture, 0, recipe)
            compressed.append(self.decoder.block(0, weights))
            return self.parts.experts.bytes

        self.measured["compressed block made"] = self.clock.moved(load, self.experts_share)
        flops = self.T * (self.k * 6.0 * self.H * self.D + 2.0 * self.H * self.K + 2.0 * self.parts.shared.weights)
        own = (max(1, self.T * self.k // self.K), self.H, 2 * self.D)
        return self._product(lambda: compressed[0](self.hidden), flops, own, self.full)

    def _product(self, work: Callable[[], object], flops: float, own: Sides, scale: float) -> Measured:
        with torch.no_grad():
            return self.clock.part(lambda: self.clock.once(work), flops, own, self.decoder.dtype, scale)


PARTS: dict[str, Callable[[Layer], Measured]] = {
    "attention": Layer.attention,
    "dense statistics": Layer.statistics,
    "similarity": Layer.similarity,
    "grouping": Layer.grouping,
    "cost matrices": Layer.alignment,
    "merge": Layer.merge,
    "refit": Layer.refit,
    "propagate": Layer.propagate,
}
# Not added up: contained in another part, or an extra of the method.
CONTAINED = ("of these, routed norms", "merge", "refit")


def noise(pool: torch.Tensor, shape: tuple[int, ...]) -> Callable[[], Iterator[bytes]]:
    """Makes the bytes of a random tensor from a pool, an expert's share or a row of it at a time."""

    def make() -> Iterator[bytes]:
        left, place = int(np.prod(shape)), int(np.prod(shape)) % 1009
        scale = shape[-1] ** -0.5 if len(shape) > 1 else 1.0
        while left:
            piece = pool[place : place + left] * scale if len(shape) > 1 else 1.0 + 0.1 * pool[place : place + left]
            yield tensor_bytes(piece.bfloat16())
            left, place = left - len(piece), (place + 7919) % 65536

    return make


def measure(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """All parts that are asked for, and what they come to."""
    device = device_of(given.device)
    clock = Clock(device, given.seconds / (2 * len(given.parts)), given.clock == "cpu", given.side)
    layer = Layer(folder, SHAPES[given.shape], given, clock)
    for name in given.parts:
        found = PARTS[name](layer)
        layer.measured[name] = found
    total = sum(each.projected for name, each in layer.measured.items() if name not in CONTAINED)
    return {
        "shape": given.shape, "device": str(device), "dtype": given.dtype, "threads": torch.get_num_threads(),
        "clock": given.clock, "tokens": layer.T, "experts": layer.N, "kept": layer.K,
        "real_experts": layer.real_experts, "yardstick_side": given.side, "load_average": os.getloadavg()[0],
        "parts": {name: asdict(each) for name, each in layer.measured.items()},
        "projected_layer_seconds": total, "projected_model_seconds": total * layer.shape.layers,
        "layers": layer.shape.layers,
    }  # fmt: skip


def table(result: dict[str, Any]) -> Table:
    """The result for people."""
    caption = (
        f"{result['experts']} of {result['real_experts']} experts, {result['tokens']} tokens, {result['dtype']}, "
        f"{result['threads']} threads, {result['clock']} seconds, load {result['load_average']:.1f}. Projected: the "
        f"whole layer at {FULL_TOKENS} tokens; × {result['layers']} layers = "
        f"{result['projected_model_seconds'] / 3600:.2f} h without refit"
    )
    shown = Table(title=result["shape"], caption=caption)
    titles = ("part", "seconds", "GFLOP", "GFLOP/s", f"of {result['yardstick_side']}²", "of its shapes")
    for title in (*titles, "GB/s", "projected s"):
        shown.add_column(title, justify="left" if title == "part" else "right")
    for name, each in result["parts"].items():
        products = ("", "", "", "")
        if each["flops"]:
            products = (
                f"{each['flops'] / 1e9:.3g}", f"{each['rate'] / 1e9:.3g}", f"{each['share']:.0%}",
                f"{each['own_share']:.0%}",
            )  # fmt: skip
        speed = f"{each['gigabytes'] / each['seconds']:.2g}" if each["gigabytes"] else ""
        shown.add_row(name, f"{each['seconds']:.3g}", *products, speed, f"{each['projected']:.3g}")
    return shown


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        SystemExit: it cannot be followed.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="demo")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--tokens", type=int, default=2048, help="in sequences of 512, or one shorter one")
    parser.add_argument("--experts", type=int, help="fewer than the shape's, for less memory")
    parser.add_argument("--pairs", type=int, default=2, help="of experts to align")
    parser.add_argument("--seconds", type=float, default=30.0, help="for all parts together, reading and writing aside")
    parser.add_argument("--side", type=int, default=1024, help="of the yardstick's square matrices")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="JSON file of the result")
    found = parser.parse_args(given)
    real = SHAPES[found.shape].config
    least = max(4, 2 * found.pairs, int(real["num_experts_per_tok"]))
    if found.experts is not None and not least <= found.experts:
        parser.error(f"--experts {found.experts}: at least {least} are needed for this shape and --pairs {found.pairs}")
    if found.clock == "cpu" and torch.get_num_threads() > 1:
        parser.error("--clock cpu counts the seconds of all threads together: set OMP_NUM_THREADS=1")
    if found.tokens < 1 or (found.tokens > LENGTH and found.tokens % LENGTH):
        parser.error(f"--tokens {found.tokens}: a multiple of {LENGTH}, or fewer than that")
    return found


def main(given: list[str] | None = None) -> None:
    """Measure, print, write."""
    found = arguments(given)
    with tempfile.TemporaryDirectory(prefix="ream-speed-") as folder:
        result = measure(Path(folder), found)
    Console(width=None if sys.stdout.isatty() else 120).print(table(result))
    if found.out:
        found.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
