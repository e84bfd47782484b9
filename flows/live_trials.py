"""The trials of a search of mixes while it runs, as a table in Prefect's UI."""

from pathlib import Path

from prefect.artifacts import create_table_artifact

from flows.artifacts import failures_logged, key_of
from flows.graph import Stage
from flows.output_rows import Row
from ream.search.records import LIVE, read_trials
from ream.workspace.layout import Workspace

KIND = "search"


class LiveTrials:
    """A table artifact that follows the trials of a stage; every change is a new version of it."""

    def __init__(self, stage: Stage, root: Path) -> None:
        """Args:
        stage: of any kind; only searches have trials.
        root: the repository that it runs in.
        """
        self._stage, self._path, self._seen = stage, live_path(stage, root), 0

    def show(self) -> None:
        """Show the trials that have been told since the last call, if there are any."""
        if self._path is None or not self._path.exists() or self._path.stat().st_mtime_ns == self._seen:
            return
        self._seen = self._path.stat().st_mtime_ns
        with failures_logged():
            create_table_artifact(
                trial_rows(self._path), key_of("trials", self._stage.name), f"{self._stage.name}: mixes tried so far"
            )


def live_path(stage: Stage, root: Path) -> Path | None:
    """Where a search writes its trials so far; None for other stages."""
    if stage.kind != KIND:
        return None
    method, experts = Path(stage.outputs[0]).parts[-2:]
    return Workspace(root / Path(stage.outputs[0]).parts[0]).state(KIND, method, experts) / LIVE


def trial_rows(path: Path) -> list[Row]:
    """A row for each trial: its mix, on how many sequences it was measured, its objectives, and whether it leads."""
    return [
        {
            "trial": row.trial,
            "mix": row.mix,
            "sequences": row.sequences,
            **{name: round(value, 4) for name, value in row.values.items()},
            "front": "yes" if row.front else "no",
        }
        for row in read_trials(path)
    ]
