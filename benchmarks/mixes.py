"""CPU seconds of a grid of one-shot models: the statistics of three sources, then all mixes, methods and sizes.

    python -m benchmarks.mixes [--layers 1] [--experts 64] [--hidden 512] [--width 256] [--tokens 16384]

On a generated checkpoint (benchmarks/memory.py) with k = 8, in float32 on one thread: the paper's ten mixes, every
one-shot method of params.yaml and `ream-one-shot`, three quarters and half of the experts. The stages run in this
process, so no start is counted; `--tokens` are those of each source. Besides the ratio of all to the statistics alone,
it prints the seconds of each method, the number of pairs of experts that are aligned, and the seconds of a pair.

    python -m benchmarks.mixes --experts 32 --hidden 2048 --width 768 --heads 36 --tokens 6144 --dense-tokens 512 \
                               --mixes 1 --full-tokens 1101141 --full-experts 128

adds what the whole grid would take of a layer of Qwen3-30B-A3B (36 heads of 64 have as many weights as its attention).
The statistics are measured with half of the tokens, too, and grow by the difference; the rest grows with mixes and
experts. The sample of tokens for mean outputs is not scaled up, so the ratio is a little too large.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import scipy.cluster.hierarchy  # noqa: F401 - imported before the clock runs
import torch
import yaml

from benchmarks.memory import Sizes, generate
from benchmarks.needs import LENGTH, VOCABULARY
from ream.calibration.corpus import write_corpus
from ream.params import Params, parse_params
from ream.recipe.recipe_file import load_recipe
from ream.stages import alignment, check, grouping, model, saliency, statistics
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

ROOT = Path(__file__).parents[1]
SOURCES = ("c4", "math", "code")
MIXES = (
    (0.3, 0.3, 0.3), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.2, 0.5, 0.3), (0.1, 0.8, 0.1), (0, 0.7, 0.3),
    (0.2, 0.25, 0.55), (0.1, 0.1, 0.8), (0, 0.3, 0.7),
)  # fmt: skip
METHODS = ("frequency", "ean", "reap", "man", "msan", "m-smoe", "hc-smoe", "ream-one-shot")


def grid(folder: Path, experts: int, dense_tokens: str | int, probes: int, count: int) -> Params:
    """Settings of the whole grid, or of its first ``count`` mixes."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    mixes = {f"mix-{number}": dict(zip(SOURCES, ratios, strict=True)) for number, ratios in enumerate(MIXES[:count])}
    sizes = [experts * 3 // 4, experts // 2]
    tree |= {
        "model": {"path": str(folder)},
        "local": {},
        "compute": {"device": "cpu", "dtype": "float32", "threads": 1},
        "calibration": {"sequences": 3072, "tokens": LENGTH},
        "sources": {source: {"kind": "tokens", "path": f"{source}.parquet"} for source in SOURCES},
        "statistics": {"probes": probes, "dense_tokens": dense_tokens, "sequences": "all"},
        "mixes": mixes,
        "grouping": {"group_size": experts // 4},
        "suites": {"none": {}},
        "evaluation": {"suite": "none"},
        "run": {
            "sources": list(SOURCES),
            "mixes": list(mixes),
            "one_shot": list(METHODS),
            "sequential": [],
            "experts": sizes,
            "rank": [next(iter(mixes))],
        },
        "exports": {},
    }
    return parse_params(tree, "the benchmark")


def write_tokens(workspace: Workspace, tokens: int) -> None:
    """Random tokens of each source, as the stage calibration would have drawn them."""
    for number, source in enumerate(SOURCES):
        ids = np.random.default_rng(number).integers(VOCABULARY, size=(tokens // LENGTH, LENGTH))
        write_corpus(workspace.calibration(source), [(source, row.tolist()) for row in ids], {})


def measure(
    options: argparse.Namespace, tokens: int, folder: Path, mixes: int
) -> tuple[dict[str, float], dict[str, int]]:
    """CPU seconds and aligned pairs of the statistics and of each method.

    Args:
        options: of the command line.
        tokens: of each source.
        folder: with the model; takes the artifacts.
        mixes: how many of MIXES; 0 for the statistics alone.
    """
    seconds: dict[str, float] = defaultdict(float)
    pairs: dict[str, int] = defaultdict(int)

    def clocked(name: str, stage: Callable[..., object], *given: object) -> None:
        """Run a stage and add its CPU seconds up."""
        before = time.process_time()
        stage(*given)
        seconds[name] += time.process_time() - before

    workspace = Workspace(folder / f"artifacts-{tokens}")
    dense = options.dense_tokens if options.dense_tokens in ("all", "auto") else int(options.dense_tokens)
    params = grid(folder / "model", options.experts, dense, options.probes, max(1, mixes))
    write_tokens(workspace, tokens)
    check.run(params, workspace, StageOptions())
    model.run(params, workspace, StageOptions())
    clocked("statistics", statistics.run_sources, params, workspace, SOURCES, StageOptions())
    for mix in params.run.mixes[:mixes]:
        clocked("saliency", saliency.run, params, workspace, StageOptions(mix=mix))
        for method in params.run.one_shot:
            for experts in params.run.experts:
                cell = StageOptions(mix=mix, method=method, experts=experts)
                for stage in (grouping, alignment):
                    clocked(method, stage.run, params, workspace, cell)
                layers = load_recipe(workspace.recipe(*cell.cell)).layers.values()
                pairs[method] += sum(len(layer.permutations) for layer in layers)
    return seconds, pairs


def main(arguments: Sequence[str] | None = None) -> None:
    """Generate the checkpoint, run the grid and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    sizes = {"layers": 1, "experts": 64, "hidden": 512, "width": 256, "tokens": 16384, "probes": 2048, "heads": 8}
    for name, value in {**sizes, "mixes": len(MIXES), "full-tokens": 0, "full-experts": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--dense-tokens", default="auto", help="of statistics")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ream-mixes-") as name:
        folder = Path(name)
        (folder / "model").mkdir()
        sizes_of_model = Sizes(
            options.layers, options.experts, options.hidden, options.width, VOCABULARY, options.heads
        )
        generate(folder / "model", sizes_of_model)
        half = options.tokens // 2
        measure(options, LENGTH, folder, 0)  # imports what the stages import
        less = measure(options, half, folder, 0)[0]["statistics"] if options.full_tokens else 0.0
        seconds, pairs = measure(options, options.tokens, folder, options.mixes)
    print("| what | CPU seconds | of the statistics | pairs aligned | milliseconds a pair |\n" + "| --- " * 5 + "|")
    for what, taken in {**seconds, "all": sum(seconds.values())}.items():
        each = f"{1000 * taken / pairs[what]:.1f}" if pairs[what] else ""
        print(f"| {what} | {taken:.1f} | {taken / seconds['statistics']:.2f} | {pairs[what] or ''} | {each} |")
    if options.full_tokens:
        growth = (seconds["statistics"] - less) / (options.tokens - half)
        whole = seconds["statistics"] + growth * (options.full_tokens - options.tokens)
        rest = (sum(seconds.values()) - seconds["statistics"]) * len(MIXES) / options.mixes
        rest *= (options.full_experts or options.experts) / options.experts
        print(f"projected: statistics {whole:.0f} s, the grid {rest:.0f} s, together {1 + rest / whole:.2f} of them")


if __name__ == "__main__":
    main()
