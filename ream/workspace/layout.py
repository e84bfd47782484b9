"""Where artifacts lie: one place that knows the names of files and folders."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The artifacts below a root folder (``artifacts`` in the graph)."""

    root: Path

    @property
    def request(self) -> Path:
        """What `ream compress` was asked for."""
        return self.root / "request.json"

    @property
    def manifest(self) -> Path:
        return self.root / "model" / "manifest.json"

    def calibration(self, source: str) -> Path:
        return self.root / "calibration" / f"{source}.parquet"

    def held_out(self, source: str) -> Path:
        return self.root / "held-out" / f"{source}.parquet"

    def statistics(self, source: str) -> Path:
        return self.root / "statistics" / source

    def saliency(self, mix: str) -> Path:
        return self.root / "saliency" / f"{mix}.safetensors"

    def groupings(self, mix: str, method: str) -> Path:
        return self.root / "grouping" / mix / method

    def grouping(self, mix: str, method: str, experts: int) -> Path:
        return self.groupings(mix, method) / f"{experts}.json"

    def recipes(self, mix: str, method: str) -> Path:
        return self.root / "recipes" / mix / method

    def recipe(self, mix: str, method: str, experts: int) -> Path:
        return self.recipes(mix, method) / f"{experts}.safetensors"

    @property
    def items(self) -> Path:
        return self.root / "items"

    def evaluation(self, mix: str) -> Path:
        return self.root / "evaluation" / f"{mix}.json"

    def rank(self, mix: str) -> Path:
        return self.root / "rank" / f"{mix}.json"

    def cost(self, stage: str) -> Path:
        """What a stage took when it last ran on this machine; no stage's output."""
        return self.root / "costs" / f"{stage}.json"

    @property
    def original_evaluation(self) -> Path:
        return self.root / "evaluation-original" / "original.json"

    @property
    def states(self) -> Path:
        return self.root / ".state"

    def state(self, *names: str) -> Path:
        """Folder for what an unfinished stage has done so far; no stage's output."""
        return self.states / "-".join(names)
