"""Compresses and measures the cells of the refit study, on the demo model and its calibration text."""

import math
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from refit_cells import GROUP_SIZES, Cell, composition

from ream.calibration.packing import pad
from ream.calibration.sampling import draw
from ream.calibration.sources import iter_texts
from ream.calibration.tokenizer import load_encoder
from ream.compress.decide import group_layer
from ream.compress.one_shot import collect
from ream.compress.sequential import compress_sequentially
from ream.compress.statistics_file import read_sums
from ream.core.recipe import Recipe
from ream.evaluation.loss import window_loss
from ream.evaluation.windows import Windows, end_token, held_out_windows
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of
from ream.models.storage.checkpoint import Checkpoint
from ream.params import BuiltinSource, Calibration, load_params
from ream.recipe.load import load_model
from ream.recipe.recipe_file import load_recipe, save_recipe
from ream.stages.items import write_items
from ream.walk.batches import Batches, batches
from ream.walk.probes import Probes
from ream.walk.state import WalkState

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "data" / "demo-model"
SOURCES = ("general", "math", "code")
TOKENS = 512  # of a calibration sequence
WINDOWS, WINDOW = 64, 256  # held-out windows of each source, and tokens of a window
BATCH_TOKENS, PROBES = 8192, 2048
# What a recipe has to say of itself.
FACTS = {
    "model": "demo", "digest": "", "method": "study", "mix": "balanced", "ratios": dict.fromkeys(SOURCES, 1.0),
    "experts": 1, "original_experts": 32, "tokens": TOKENS, "seed": 0, "ream": "",
}  # fmt: skip


@dataclass
class Bench:
    """The demo model with the text that the cells share.

    Attributes:
        folder: for temporary files.
        most: the largest number of sequences of each source that a cell uses.
        windows: held-out windows by source.
        texts: token ids of the calibration sequences by source, of one seed at a time.
    """

    folder: Path
    most: int
    windows: dict[str, Windows] = field(default_factory=dict)
    texts: dict[int, dict[str, list[list[int]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.checkpoint = Checkpoint(MODEL)
        self.architecture = architecture_of(self.checkpoint)
        self.device = torch.device("cpu")
        self.decoder = Decoder(self.checkpoint, self.architecture, self.device, torch.float32)
        self.encode = load_encoder(str(MODEL), None, False).encode
        for source in SOURCES:
            self.windows[source] = held_out_windows(self.encode, end_token(MODEL), source, WINDOWS, WINDOW)

    def data(self, seed: int, sequences: int) -> Batches:
        """Batches of the first sequences of each source; the sequences of a seed are drawn once."""
        if seed not in self.texts:
            drawn = Calibration(sequences=self.most, tokens=TOKENS, seed=seed)
            self.texts = {
                seed: {
                    source: draw(
                        iter_texts(BuiltinSource(kind="builtin", name=source), seed), self.encode, drawn
                    ).sequences
                    for source in SOURCES
                }
            }
        rows = [ids for source in SOURCES for ids in self.texts[seed][source][:sequences]]
        return batches(*pad(rows, pad_id=0), BATCH_TOKENS)

    def recipe(self, cell: Cell) -> Recipe | None:
        """Compress the demo model as a cell says; None for the original."""
        if cell.method == "original":
            return None
        data = self.data(cell.seed, cell.sequences)
        probes = Probes(data, PROBES, cell.seed)
        assert len(data.ids) == len(SOURCES) * cell.sequences
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as folder,
            Progress(None, "study", "batch", delay=math.inf) as progress,
            WalkState(Path(folder) / "state", "study", discard_stale=False) as state,
        ):
            if cell.method == "one-shot":
                collect(self.decoder, data, probes, state, progress)
                return self.pruned(cell, state.folder)
            recipe = compress_sequentially(
                self.decoder, data, probes, composition(cell), cell.experts, GROUP_SIZES[cell.experts], state,
                progress, FACTS | {"seed": cell.seed}, None, [name for name in SOURCES for _ in range(cell.sequences)],
            )  # fmt: skip
            path = self.folder / "recipe.safetensors"  # saved because corrections lie in the state, which is removed
            save_recipe(path, recipe)
            return load_recipe(path)

    def pruned(self, cell: Cell, statistics_folder: Path) -> Recipe:
        """One-shot REAP from the original's statistics in a folder."""
        method = composition(replace(cell, method="reap", target=None))
        layers = {
            index: group_layer(method, read_sums(statistics_folder, index), cell.experts, 1, 1)
            for index in self.architecture.moe_layers
        }
        return Recipe(layers, {})

    def measured(self, cell: Cell) -> dict[str, Any]:
        """A line of the study: the cell, held-out loss of each source in nats, seconds, and facts of the refit."""
        started = time.monotonic()
        recipe = self.recipe(cell)
        walked = time.monotonic() - started
        model = load_model(self.checkpoint, self.architecture, recipe, self.device, torch.float32)
        loss = {source: window_loss(model, windows, BATCH_TOKENS)["loss"] for source, windows in self.windows.items()}
        refit = {} if recipe is None else recipe.facts.get("refit", {})
        return {"cell": asdict(cell), "loss": loss, "seconds": round(walked, 1), "refit": refit}


def suite_scores(bench: Bench, cell: Cell, folder: Path) -> dict[str, Any]:
    """A line of FOLDER/suite.jsonl: means of the demo suite's MC and GEN tasks, in percent.

    Args:
        bench: the demo model and its text.
        cell: what to compress and score.
        folder: of the study; the tasks' items are written there once.
    """
    from transformers import AutoTokenizer

    from ream.evaluation.harness import Harness

    params = load_params(ROOT / "params.yaml")
    if not (folder / "items").exists():
        write_items(params, folder / "items", MODEL)
    suite = params.suites["demo"].model_copy(update={"loss": []})
    model = load_model(bench.checkpoint, bench.architecture, bench.recipe(cell), bench.device, torch.float32)
    harness = Harness(suite, params.evaluation, folder / "items")
    scores = harness.score(model, AutoTokenizer.from_pretrained(MODEL), None)
    return {"cell": asdict(cell), "mc": scores["mc"], "gen": scores["gen"]}
