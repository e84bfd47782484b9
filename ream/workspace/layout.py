"""Where artifacts lie: the only place that knows the names of files and folders."""

from dataclasses import dataclass
from pathlib import Path

WINDOWS = "windows.safetensors"  # the held-out windows, in the folder of the items
# What local files are read for, besides the sources (`Workspace.input`).
MODEL, TASKS, TEXT, REPORT = "model", "tasks", "text", "report"


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
    def names(self) -> Path:
        """The sign that all names can stand in a command; its content never changes."""
        return self.root / "names.json"

    @property
    def codes(self) -> Path:
        """The folder of the fingerprints of code."""
        return self.root / "code"

    def code(self, stage: str) -> Path:
        """The fingerprint of the code that a stage can execute."""
        return self.codes / f"{stage}.json"

    @property
    def watched_folder(self) -> Path:
        """The folder of the contents of the local paths that DVC watches."""
        return self.root / "watched"

    def watched(self, name: str) -> Path:
        """The files of one entry of the section local, and their hashes."""
        return self.watched_folder / f"{name}.json"

    @property
    def inputs(self) -> Path:
        """The folder of the local files that each kind of stage reads."""
        return self.root / "inputs"

    def input(self, name: str) -> Path:
        """The local files that one use of them reads (MODEL, TASKS, TEXT, REPORT), and their hashes."""
        return self.inputs / f"{name}.json"

    def source_input(self, source: str) -> Path:
        """The local files of a calibration source, and their hashes."""
        return self.inputs / "sources" / f"{source}.json"

    @property
    def check(self) -> Path:
        """The sign that the settings fit the model; its content never changes."""
        return self.root / "check.json"

    @property
    def needs(self) -> Path:
        """What the statistics consist of, so that they serve every one-shot method of the run."""
        return self.root / "needs.json"

    @property
    def shares_folder(self) -> Path:
        """The folder of the numbers of sequences that the statistics of each source are taken of."""
        return self.root / "shares"

    def share(self, source: str) -> Path:
        """The number of sequences that the statistics of one source are taken of."""
        return self.shares_folder / f"{source}.json"

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

    def mixture(self, mix: str) -> Path:
        """The calibration sequences of a mix."""
        return self.root / "mixtures" / f"{mix}.parquet"

    def saliency(self, mix: str) -> Path:
        """The statistics and saliencies of a mix."""
        return self.root / "saliency" / f"{mix}.safetensors"

    def grouping(self, mix: str, method: str, experts: int) -> Path:
        """The grouping of one cell."""
        return self.root / "grouping" / mix / method / f"{experts}.json"

    def recipe(self, mix: str, method: str, experts: int) -> Path:
        """The recipe of one cell."""
        return self.root / "recipes" / mix / method / f"{experts}.safetensors"

    @property
    def items(self) -> Path:
        """The folder with the items of the demo tasks and the held-out windows."""
        return self.root / "items"

    @property
    def windows(self) -> Path:
        """The held-out windows of tokens."""
        return self.items / WINDOWS

    def evaluation(self, mix: str, method: str, experts: int) -> Path:
        """The scores of one cell."""
        return self.root / "evaluation" / mix / method / f"{experts}.json"

    @property
    def original_evaluation(self) -> Path:
        """The scores of the original."""
        return self.root / "evaluation-original" / "original.json"

    def answers(self, mix: str, method: str, experts: int) -> Path:
        """The answers of one cell, question by question."""
        return self.root / "answers" / mix / method / f"{experts}.parquet"

    @property
    def original_answers(self) -> Path:
        """The answers of the original."""
        return self.root / "answers-original" / "original.parquet"

    def rank(self, mix: str) -> Path:
        """The ranks and errors of the hidden states of all models of a mix."""
        return self.root / "rank" / f"{mix}.json"

    def fidelity(self, export: str) -> Path:
        """How close an export is to the original."""
        return self.root / "fidelity" / f"{export}.json"

    def search(self, method: str, experts: int) -> Path:
        """The folder of what a search of mixes has found."""
        return self.root / "search" / method / str(experts)

    @property
    def planned_searches(self) -> Path:
        """The list of the run's searches, which is there where none of them runs."""
        return self.root / "search" / "planned.json"

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

    def ran_with(self, stage: str) -> Path:
        """The settings of a stage's last run on this machine; not an output of any stage."""
        return self.root / "ran-with" / f"{stage}.json"

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
