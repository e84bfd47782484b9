"""What Prefect's UI shows beside states and logs: a stage's progress, its figures, all scores, the report."""

import base64
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from flows.child import Event
from flows.graph import Stage
from flows.output_rows import Row, rows_of, score_rows, size
from ream.errors import UserError

if TYPE_CHECKING:
    from ream.evaluation.scores import Cell

SHORTEST_SECONDS = 2.0  # stages shorter than this need no progress


@contextmanager
def failures_logged() -> Iterator[None]:
    """Log errors of artifacts as warnings: a stage or a flow does not fail because something cannot be shown."""
    try:
        yield
    except (httpx.HTTPError, PrefectException, UserError) as error:
        get_run_logger().warning("artifacts can't be shown: %s", error)


def key_of(*words: str) -> str:
    """An artifact's key, made of words: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


class Progress:
    """A stage's progress artifact, updated from the events of `ream.machine.progress`."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._id: UUID | None = None

    def show(self, event: Event) -> None:
        """Update the artifact; the first event after SHORTEST_SECONDS creates it."""
        if not event.get("total"):
            return
        percent = 100.0 * event["done"] / event["total"]
        if self._id is not None:
            update_progress_artifact(self._id, percent, description=describe(event))
        elif event["elapsed"] >= SHORTEST_SECONDS:
            created = create_progress_artifact(percent, key_of("progress", self.stage), describe(event))
            assert isinstance(created, UUID)
            self._id = created


def describe(event: Event) -> str:
    """A progress event in words: layers or units done, tokens a second, time left."""
    words = []
    if "layers" in event:
        words.append(f"{event['layers_done']} of {event['layers']} layers")
    else:
        words.append(f"{event['done']} of {event['total']} {event['unit'].strip()}s")
    if "tokens_per_second" in event:
        words.append(f"{event['tokens_per_second']:,} tokens/s")
    if event.get("eta") is not None:
        minutes, seconds = divmod(round(event["eta"]), 60)
        words.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(words)


def show_stage(stage: Stage, root: Path, seconds: float) -> None:
    """Show the figures of a stage that has just run, with links to its pages.

    Args:
        stage: the stage.
        root: the repository that it ran in.
        seconds: how long it ran.
    """
    paths = [root / output for output in stage.outputs]
    total: Row = {"": "in all", "seconds": round(seconds, 1), "MB": round(sum(map(size, paths)) / 1e6, 3)}
    rows = [row for path in paths for row in rows_of(stage.kind, path)]
    create_table_artifact([*rows, total], key_of("figures", stage.name), f"{stage.name}: `{stage.command}`")
    for path in paths:
        if path.suffix in (".md", ".html"):
            create_link_artifact(path.resolve().as_uri(), link_text=path.name, key=key_of("file", path.name))


def show_results(evaluations: Iterable[Path], report: Path | None) -> None:
    """Show a table of all scores, and the report as text and as a link.

    Args:
        evaluations: files of the evaluation stages.
        report: the report in Markdown; None if the flow did not include it.
    """
    cells = _cells(evaluations)
    if cells:
        create_table_artifact(list(score_rows(cells)), "scores", "All scores; MC, GEN and AVG in percent")
    if report is not None:
        create_markdown_artifact(report.read_text(encoding="utf-8"), "report", "The report")
        create_link_artifact(report.resolve().as_uri(), link_text=report.name, key="report-file")


def show_overview(evaluations: Iterable[Path]) -> None:
    """Show the figure of all models' loss and scores against their parameters, as a PNG image.

    Args:
        evaluations: files of the evaluation stages.
    """
    cells = _cells(evaluations)
    if not cells:
        return
    from ream.analysis.figures.held_out_loss import overview

    image = io.BytesIO()
    overview(cells).savefig(image, format="png", dpi=120)
    url = f"data:image/png;base64,{base64.b64encode(image.getvalue()).decode('ascii')}"
    create_image_artifact(url, key="overview", description="Loss and scores against parameters")


def _cells(evaluations: Iterable[Path]) -> "list[Cell]":
    """The models of all evaluation files."""
    from ream.evaluation.scores import read_scores

    return [cell for path in evaluations for cell in read_scores(path).cells]
