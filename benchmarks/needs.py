"""CPU seconds of the walk where less is computed: pruning without the dense pass, mean outputs from a sample, and
outputs of a sequential walk that are computed once.

    python -m benchmarks.needs [--layers 6] [--experts 64] [--hidden 512] [--width 256] [--tokens 16384]
                               [--sequential-tokens 65536] [--sample 4096] [--repeats 5]

On a generated checkpoint (benchmarks/memory.py) with k = 8, in float32 on one thread. The variants of a comparison run
one after the other in each repeat, so that the machine's load falls on all of them. What is shown are medians of CPU
seconds (`time.process_time`) of the walk alone: no start, no drawing of text, no writing of a checkpoint. `reap` is
the statistics of all layers, `ream` the sequential walk to three quarters of the experts with its alignments, and
`reap-sequential` that of pruning to three quarters and to half, with the outputs of routed experts kept for the pruned
layer, as they are, or computed again.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.memory import Sizes, generate
from ream.compress.one_shot import collect_all
from ream.compress.sequential import compress_sequentially
from ream.core import known_outputs
from ream.core.composition import ALL_QUANTITIES, Composition, Quantity
from ream.core.sample import Sampling
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of
from ream.models.storage.checkpoint import Checkpoint
from ream.walk.batches import Batches, batches
from ream.walk.probes import Probes
from ream.walk.state import WalkState

LENGTH, PROBES, VOCABULARY, BATCH = 512, 2048, 4096, 8192
PRUNING = Composition("reap", "pruning", sequential=True)
REAM = Composition(
    "reap", "pseudo-pruning", ("gate-logits", "gated-output"), ("activations", "weights"), sequential=True
)


def random_text(tokens: int) -> Batches:
    """Sequences of random tokens."""
    ids = np.random.default_rng(0).integers(VOCABULARY, size=(tokens // LENGTH, LENGTH))
    return batches(ids, np.ones(ids.shape, dtype=bool), BATCH)


def fit(model: Path, tokens: int, needs: frozenset[Quantity]) -> float:
    """CPU seconds of the statistics of all layers."""
    data = random_text(tokens)

    def walk(decoder: Decoder, state: WalkState, progress: Progress) -> None:
        probes = Probes(data, PROBES if "probes" in needs else 0, 0)
        collect_all(decoder, [(data, probes, state)], progress, needs=needs)

    return clocked(model, len(data), walk)


def merge(model: Path, tokens: int, sample: int | None) -> float:
    """CPU seconds of the sequential walk of `ream`."""
    data = random_text(tokens)

    def walk(decoder: Decoder, state: WalkState, progress: Progress) -> None:
        probes = Probes(data, PROBES, 0, sampling=None if sample is None else Sampling(sample, sample))
        kept = decoder.architecture.experts * 3 // 4
        compress_sequentially(decoder, data, probes, REAM, kept, 16, state, progress, {})

    return clocked(model, len(data), walk)


def prune(model: Path, tokens: int, kept: int, most: int) -> float:
    """CPU seconds of the sequential walk of REAP, with room for so many bytes of routed outputs."""
    data, usual = random_text(tokens), known_outputs.OutputStore.__init__.__defaults__

    def walk(decoder: Decoder, state: WalkState, progress: Progress) -> None:
        known_outputs.OutputStore.__init__.__defaults__ = (most,)
        compress_sequentially(decoder, data, Probes(data, 0, 0), PRUNING, kept, 16, state, progress, {})

    try:
        return clocked(model, len(data), walk)
    finally:
        known_outputs.OutputStore.__init__.__defaults__ = usual


def clocked(model: Path, steps: int, walk: Callable[[Decoder, WalkState, Progress], None]) -> float:
    """CPU seconds of a walk through a checkpoint."""
    checkpoint = Checkpoint(model)
    decoder = Decoder(checkpoint, architecture_of(checkpoint), torch.device("cpu"), torch.float32)
    depth = decoder.architecture.depth
    with (
        tempfile.TemporaryDirectory() as folder,
        WalkState(Path(folder), "x", discard_stale=True) as state,
        Progress(steps * depth, "walk", "batch", depth, silent=True) as progress,
    ):
        before = time.process_time()
        walk(decoder, state, progress)
        return time.process_time() - before


def table(title: str, variants: dict[str, Callable[[], float]], repeats: int) -> None:
    """Run all variants in turns and print the median of each, and its ratio to the first."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(repeats):
        for name, run in variants.items():
            seconds[name].append(run())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    print(f"\n{title}\n\n| what | CPU seconds | ratio |\n| --- | --- | --- |")
    for name, median in medians.items():
        print(f"| {name} | {median:.1f} | {median / first:.2f} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Generate the checkpoint and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    sizes = {"layers": 6, "experts": 64, "hidden": 512, "width": 256, "tokens": 16384, "sequential-tokens": 65536}
    for name, value in {**sizes, "sample": 4096, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ream-needs-") as folder:
        model = Path(folder)
        generate(model, Sizes(options.layers, options.experts, options.hidden, options.width, VOCABULARY))
        reap: dict[str, Callable[[], float]] = {
            "everything": lambda: fit(model, options.tokens, ALL_QUANTITIES),
            "`reap`: norms alone": lambda: fit(model, options.tokens, frozenset({"norms"})),
            "`frequency`: counts alone, the layer's own experts": lambda: fit(model, options.tokens, frozenset()),
        }
        table(f"Statistics of {options.tokens:,} tokens", reap, options.repeats)
        tokens, sample = options.sequential_tokens, options.sample
        for kept in (options.experts * 3 // 4, options.experts // 2):
            again: dict[str, Callable[[], float]] = {
                "computed again": partial(prune, model, options.tokens, kept, 0),
                "kept": partial(prune, model, options.tokens, kept, known_outputs.MOST_BYTES),
            }
            table(f"`reap-sequential` to {kept} experts, {options.tokens:,} tokens", again, options.repeats)
        ream: dict[str, Callable[[], float]] = {
            "dense_tokens: all": lambda: merge(model, tokens, None),
            f"dense_tokens: {sample}": lambda: merge(model, tokens, sample),
        }
        table(f"Sequential `ream` on {tokens:,} tokens", ream, options.repeats)


if __name__ == "__main__":
    main()
