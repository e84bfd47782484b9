"""How the parts of a merge matter: alignment and weights, for three groupings, on any models.

    python benchmarks/merging_study.py MODEL... [--experts 0.5] [--sequences 32] [--out docs/merging-study.md]

Each model is walked once; all merges are one-shot, from the same statistics of the same text. Written is one Markdown
table a model: the mean held-out loss of its sources in nats for every alignment and weighting, by grouping:

- ream: REAP saliency, pseudo-pruning by gate logits and gated outputs (the paper; one-shot here);
- m-smoe: frequency, nearest centroid by gate logits;
- hc-smoe: frequency, hierarchical clusters of mean outputs.

Pruning by REAP and the original are there for comparison. A model brings its own tokenizer; the text is ream's own.
"""

import argparse
import itertools
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ream.calibration.packing import pad
from ream.calibration.sampling import draw
from ream.calibration.sources import iter_texts
from ream.calibration.tokenizer import load_encoder
from ream.compress.decide import absorbed, group_layer
from ream.compress.one_shot import collect
from ream.compress.statistics_file import read_sums
from ream.core.alignment import align_groups
from ream.core.composition import Composition
from ream.core.recipe import Recipe
from ream.evaluation.loss import window_loss
from ream.evaluation.windows import end_token, held_out_windows
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of
from ream.models.storage.checkpoint import Checkpoint
from ream.params import BuiltinSource, Calibration, Method
from ream.recipe.load import load_model
from ream.walk.batches import batches
from ream.walk.layer_file import layer_file
from ream.walk.probes import Probes
from ream.walk.state import WalkState

SOURCES = ("general", "math", "code")
GROUPINGS: dict[str, dict[str, Any]] = {
    "ream": {"saliency": "reap", "grouping": "pseudo-pruning", "similarity": ["gate-logits", "gated-output"]},
    "m-smoe": {"saliency": "frequency", "grouping": "nearest-centroid", "similarity": ["gate-logits"]},
    "hc-smoe": {"saliency": "frequency", "grouping": "hierarchical", "similarity": ["output"]},
}
ALIGNMENTS = ((), ("activations",), ("weights",), ("weights-pca",), ("activations", "weights"))
WEIGHTINGS = ("saliency", "squared-saliency", "frequency", "equal")
BATCH_TOKENS, PROBES, WINDOW = 8192, 1024, 256


@dataclass
class Study:
    """One model with its text and statistics.

    Attributes:
        folder: of the model.
        kept: K; below 1 a fraction of its experts.
        sequences: calibration sequences of each source.
        tokens: of a sequence.
        windows: held-out windows of each source.
    """

    folder: Path
    kept: float
    sequences: int
    tokens: int
    windows: int

    def __post_init__(self) -> None:
        self.checkpoint = Checkpoint(self.folder)
        self.architecture = architecture_of(self.checkpoint)
        self.decoder = Decoder(self.checkpoint, self.architecture, torch.device("cpu"), torch.float32)
        encode = load_encoder(str(self.folder), None, False).encode
        drawn = Calibration(sequences=self.sequences, tokens=self.tokens, seed=0)
        rows = [
            ids
            for source in SOURCES
            for ids in draw(iter_texts(BuiltinSource(kind="builtin", name=source), 0), encode, drawn).sequences
        ]
        self.data = batches(*pad(rows, pad_id=0), BATCH_TOKENS)
        end = end_token(self.folder)
        self.held_out = [held_out_windows(encode, end, source, self.windows, WINDOW) for source in SOURCES]
        self.experts = round(self.kept * self.architecture.experts) if self.kept < 1 else int(self.kept)
        self.group_size = math.ceil((self.architecture.experts - self.experts) / self.experts) * 2

    def loss(self, recipe: Recipe | None) -> float:
        """The mean over sources of the held-out loss; of the original for None."""
        model = load_model(self.checkpoint, self.architecture, recipe, self.decoder.device, torch.float32)
        return sum(window_loss(model, windows, BATCH_TOKENS)["loss"] for windows in self.held_out) / len(SOURCES)

    def measure(self, folder: Path) -> None:
        """Leave the statistics of all layers in a folder."""
        with Progress(None, "study", "batch", delay=math.inf) as progress, WalkState(folder, "study", True) as state:
            collect(self.decoder, self.data, Probes(self.data, PROBES, 0), state, progress)

    def grouped(self, method: Composition, statistics: Path) -> Recipe:
        """The groups and weights of all layers, without permutations."""
        layers = {
            index: group_layer(
                method, read_sums(statistics, index), self.experts, self.group_size, self.architecture.router_groups
            )
            for index in self.architecture.moe_layers
        }
        return Recipe(layers, {})

    def aligned(self, recipe: Recipe, method: Composition, statistics: Path) -> Recipe:
        """The recipe with the permutations of its absorbed experts."""
        from safetensors import safe_open

        layers = {}
        for index, layer in recipe.layers.items():
            block = self.decoder.block(index)
            experts = block.experts
            with safe_open(layer_file(statistics, index), framework="pt") as file:
                probes = file.get_tensor("probes")
            permutations = align_groups(
                absorbed(layer), experts.__getitem__, method.alignment, probes, block.unit, 0, len(experts)
            )
            layers[index] = replace(layer, permutations=permutations)
        return Recipe(layers, {})

    def rows(self) -> Iterator[tuple[str, str, str, float]]:
        """(grouping, alignment, weighting, loss) of every merge; "" where a part does not apply."""
        yield "original", "", "", self.loss(None)
        with tempfile.TemporaryDirectory() as temporary:
            statistics = Path(temporary) / "state"
            self.measure(statistics)
            reap = Method(saliency="reap", grouping="pruning").composition()
            yield "pruned by reap", "", "", self.loss(self.grouped(reap, statistics))
            for name, parts in GROUPINGS.items():
                for alignment in ALIGNMENTS:
                    permutations = None
                    for weighting in WEIGHTINGS:
                        method = Method(**parts, alignment=list(alignment), weighting=weighting).composition()
                        recipe = self.grouped(method, statistics)
                        if permutations is None:  # they do not depend on the weights
                            permutations = self.aligned(recipe, method, statistics).layers
                        layers = {
                            index: replace(layer, permutations=permutations[index].permutations)
                            for index, layer in recipe.layers.items()
                        }
                        terms = " + ".join(alignment) or "none"
                        yield name, terms, weighting, self.loss(Recipe(layers, {}))


def table(title: str, rows: list[tuple[str, str, str, float]]) -> str:
    """A Markdown table: an alignment and grouping a line, a weighting a column."""
    alone = {name: loss for name, alignment, _, loss in rows if not alignment}
    merged = {(name, alignment, weighting): loss for name, alignment, weighting, loss in rows if alignment}
    lines = [
        f"**{title}**: " + ", ".join(f"{name} {loss:.3f}" for name, loss in alone.items()),
        "",
        f"| grouping | alignment | {' | '.join(WEIGHTINGS)} |",
        f"| --- | --- |{' --- |' * len(WEIGHTINGS)}",
    ]
    best = min(merged.values(), default=math.nan)
    for name, alignment in itertools.product(GROUPINGS, (" + ".join(terms) or "none" for terms in ALIGNMENTS)):
        losses = [
            merged[name, alignment, weighting] for weighting in WEIGHTINGS if (name, alignment, weighting) in merged
        ]
        told = [f"**{loss:.3f}**" if loss == best else f"{loss:.3f}" for loss in losses]
        if told:
            lines.append(f"| {name} | {alignment} | {' | '.join(told)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables, and write them to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--experts", type=float, default=0.5, help="experts to keep; below 1 a fraction [0.5]")
    parser.add_argument("--sequences", type=int, default=32, help="calibration sequences of each source [32]")
    parser.add_argument("--tokens", type=int, default=256, help="of a sequence [256]")
    parser.add_argument("--windows", type=int, default=32, help="held-out windows of 256 tokens of each source [32]")
    parser.add_argument("--out", type=Path, help="a Markdown file to write the tables to, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    tables = []
    for folder in given.models:
        study = Study(folder, given.experts, given.sequences, given.tokens, given.windows)
        title = f"{folder.name}, {study.experts} of {study.architecture.experts} experts"
        tables.append(table(title, list(study.rows())))
        print(tables[-1] + "\n", flush=True)
        if given.out is not None:
            given.out.write_text("\n\n".join(tables) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
