"""What people see in Prefect's UI beside states and logs: progress, each stage's figures, all scores."""

import base64
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.graph import Stage
from ream.machine.files import read_json

if TYPE_CHECKING:
    from ream.evaluation.scores import Cell

LEAST_SECONDS = 2.0  # shorter stages need no progress


def key_of(*words: str) -> str:
    """An artifact's key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


class Progress:
    """A stage's progress artifact, from the events of `ream.machine.progress`."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._id: UUID | None = None

    def tell(self, event: dict[str, Any]) -> None:
        """Show an event."""
        if not event.get("total"):
            return
        percent = 100.0 * event["done"] / event["total"]
        if self._id is not None:
            update_progress_artifact(self._id, percent, description=describe(event))
        elif event["elapsed"] >= LEAST_SECONDS:
            made = create_progress_artifact(percent, key_of("progress", self.stage), describe(event))
            assert isinstance(made, UUID)
            self._id = made


def describe(event: dict[str, Any]) -> str:
    """An event in words: layers done, tokens a second, time left."""
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


def stage_table(stage: Stage, root: Path, seconds: float) -> None:
    """The figures of a stage that has just run."""
    paths = [root / output for output in stage.outputs]
    total = {"": "in all", "seconds": round(seconds, 1), "MB": round(sum(map(size, paths)) / 1e6, 3)}
    rows = [row for path in paths for row in figures(stage.kind, path)]
    create_table_artifact([*rows, total], key_of("figures", stage.name), f"{stage.name}: `{stage.command}`")
    for path in paths:
        if path.suffix in (".md", ".html"):
            create_link_artifact(path.resolve().as_uri(), link_text=path.name, key=key_of("file", path.name))


def size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.exists() else 0


def figures(kind: str, path: Path) -> Iterable[dict[str, Any]]:
    """Rows about an output of a stage: what was read, groups of each layer, scores."""
    if kind == "calibration":
        from ream.calibration.corpus import read_corpus

        corpus = read_corpus(path, may_be_empty=True)
        yield {"": f"{path.parent.name} {path.stem}", "sequences": len(corpus.sequences), **corpus.facts["counts"]}
    elif kind == "statistics":
        facts = read_json(path / "facts.json")
        for layer in sorted(path.glob("*.safetensors")):
            yield {"": layer.stem, "tokens": facts["tokens"], "MB": round(size(layer) / 1e6, 3)}
    elif kind.removesuffix("-extra") in ("alignment", "sequential"):
        recipes = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        for recipe in recipes:
            yield from groups(recipe)
    elif kind == "rank":
        tree = read_json(path)
        for cell in tree["cells"]:
            ranks = {f"{name} rank": _rounded(cell["ranks"][name], 1) for name in ("numerical", "effective")}
            yield {"": f"{tree['mix']} {cell['method']}", "experts": cell["experts"], **ranks}
    elif kind.startswith("evaluate"):
        from ream.evaluation.scores import read_scores

        yield from score_rows(read_scores(path).cells)


def groups(recipe: Path) -> Iterable[dict[str, Any]]:
    """The groups of each layer of a recipe."""
    import numpy as np

    from ream.recipe.recipe_file import load_recipe

    for index, layer in load_recipe(recipe).layers.items():
        group = layer.groups.group
        sizes = np.bincount(group[group >= 0], minlength=len(layer.groups.kept))
        yield {
            "": f"{recipe.stem} experts, layer {index}",
            "alone": int((sizes == 1).sum()),
            "groups": int((sizes > 1).sum()),
            "largest": int(sizes.max()),
            "removed": int((group < 0).sum()),
        }


def score_rows(cells: "Iterable[Cell]") -> Iterable[dict[str, Any]]:
    """Scores of evaluated models, a row each."""
    for cell in cells:
        yield {
            "": f"{cell.mix} {cell.method}" if cell.method else "original",
            "experts": cell.experts,
            "mean loss": _rounded(cell.mean_loss, 3),
            "MC": _rounded(cell.mc, 1),
            "GEN": _rounded(cell.gen, 1),
            "AVG": _rounded(cell.avg, 1),
        }


def scores(evaluations: Iterable[Path], report: Path | None) -> None:
    """At the end of a flow: a table of all scores, and the report as text and as a link.

    Args:
        evaluations: files of the evaluation stages.
        report: the report, where there is one.
    """
    cells = _cells(evaluations)
    if cells:
        create_table_artifact(list(score_rows(cells)), "scores", "All scores; MC, GEN and AVG in percent")
    if report is not None:
        create_markdown_artifact(report.read_text(encoding="utf-8"), "report", "The report")
        create_link_artifact(report.resolve().as_uri(), link_text=report.name, key="report-file")


def main_figure(evaluations: Iterable[Path]) -> None:
    """Loss and scores of all models against their parameters, as an image."""
    cells = _cells(evaluations)
    if not cells:
        return
    from ream.analysis.figures.held_out_loss import overview

    image = io.BytesIO()
    overview(cells).savefig(image, format="png", dpi=120)
    url = f"data:image/png;base64,{base64.b64encode(image.getvalue()).decode('ascii')}"
    create_image_artifact(url, key="overview", description="Loss and scores against parameters")


def _cells(evaluations: Iterable[Path]) -> "list[Cell]":
    from ream.evaluation.scores import read_scores

    return [cell for path in evaluations for cell in read_scores(path).cells]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
