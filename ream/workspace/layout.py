"""Where artifacts lie: the only place that knows the names of files and folders."""

from dataclasses import dataclass
from pathlib import Path

WINDOWS = "windows.safetensors"  # the held-out windows, in the folder of the items


@dataclass(frozen=True)
class Workspace:
    """The folders that the stages read and write.

    Attributes:
        root: folder of the artifacts (``artifacts`` in the graph).
        reports: folder of the tables, figures and the page.
        models: folder of the exported checkpoints.
        metrics: folder of DVC's metrics and of the data of its plots, which git keeps.
    """

    root: Path
    reports: Path = Path("reports")
    models: Path = Path("models")
    metrics: Path = Path("metrics")

    @property
    def request(self) -> Path:
        """The settings that `ream compress` was asked for."""
        return self.root / "request.json"

    @property
    def manifest(self) -> Path:
        """The description of the original model."""
        return self.root / "model" / "manifest.json"

    def calibration(self, source: str) -> Path:
        """The calibration sequences of a source."""
        return self.root / "calibration" / f"{source}.parquet"

    def held_out(self, source: str) -> Path:
        """The sequences of a source that no model is calibrated on."""
        return self.root / "held-out" / f"{source}.parquet"

    def statistics(self, source: str) -> Path:
        """The folder with one file of statistics per MoE layer."""
        return self.root / "statistics" / source

    def saliency(self, mix: str) -> Path:
        """The statistics and saliencies of a mix."""
        return self.root / "saliency" / f"{mix}.safetensors"

    def groupings(self, mix: str, method: str) -> Path:
        """The folder of a method's groupings, one file per number of experts."""
        return self.root / "grouping" / mix / method

    def grouping(self, mix: str, method: str, experts: int) -> Path:
        """The grouping of one cell."""
        return self.groupings(mix, method) / f"{experts}.json"

    def recipes(self, mix: str, method: str) -> Path:
        """The folder of a method's recipes, one file per number of experts."""
        return self.root / "recipes" / mix / method

    def recipe(self, mix: str, method: str, experts: int) -> Path:
        """The recipe of one cell."""
        return self.recipes(mix, method) / f"{experts}.safetensors"

    @property
    def items(self) -> Path:
        """The folder with the items of the demo tasks and the held-out windows."""
        return self.root / "items"

    @property
    def windows(self) -> Path:
        """The held-out windows of tokens."""
        return self.items / WINDOWS

    def evaluation(self, mix: str) -> Path:
        """The scores of all models of a mix."""
        return self.root / "evaluation" / f"{mix}.json"

    @property
    def original_evaluation(self) -> Path:
        """The scores of the original."""
        return self.root / "evaluation-original" / "original.json"

    def rank(self, mix: str) -> Path:
        """The ranks and errors of the hidden states of all models of a mix."""
        return self.root / "rank" / f"{mix}.json"

    def export(self, name: str) -> Path:
        """The checkpoint of an export."""
        return self.models / name

    @property
    def headline(self) -> Path:
        """The headline metrics."""
        return self.metrics / "headline.json"

    @property
    def all_metrics(self) -> Path:
        """The folder with a file of metrics for every model."""
        return self.metrics / "models"

    @property
    def plots(self) -> Path:
        """The data of DVC's plots."""
        return self.metrics / "plots.csv"

    def cost(self, stage: str) -> Path:
        """Time and memory of a stage's last run on this machine; not an output of any stage."""
        return self.root / "costs" / f"{stage}.json"

    @property
    def states(self) -> Path:
        """The folder of all unfinished work."""
        return self.root / ".state"

    def state(self, *names: str) -> Path:
        """The folder of a stage's unfinished work; not an output of any stage."""
        return self.states / "-".join(names)

    @property
    def scratch(self) -> Path:
        """The folder of the temporary files of all runs (`ream.machine.scratch`)."""
        return self.states / "scratch"

    def has_finished_layers(self) -> bool:
        """Whether a walk has finished a layer, or a source's statistics are complete."""
        return any(self.states.glob("*/progress.json")) or any(self.root.glob("statistics/*/facts.json"))
