"""Files of evaluation results, and the means over tasks and sources."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ream.errors import UserError
from ream.evaluation.answer_counts import AnswerCounts
from ream.machine.files import read_json, write_json


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TaskScore(_Record):
    """One task of one model.

    Attributes:
        value: value of the metric, in percent.
        stderr: standard error of the value, in percent; None if lm-eval gives none.
        items: number of questions asked, for a group those of all its tasks.
        num_fewshot: number of examples in the prompt.
        version: version of the task.
        metric: "metric,filter", as lm-eval writes it.
        settings: everything else that the value depends on (`ream.evaluation.settings.task_settings`).
        robust: value by our own extractor (`ream.evaluation.robust`), in percent; None for tasks without.
        counts: what is to be told about the answers; None in files of earlier versions.
    """

    value: float = Field(ge=0, le=100)
    stderr: float | None = None
    items: int = Field(ge=1)
    num_fewshot: int = Field(ge=0)
    version: str
    metric: str
    settings: dict[str, Any] = {}
    robust: float | None = Field(None, ge=0, le=100)
    counts: AnswerCounts | None = None


class SourceLoss(_Record):
    """Held-out loss on one source (`ream.evaluation.loss.window_loss`), in nats a token."""

    loss: float = Field(ge=0)
    stderr: float = Field(ge=0)
    tokens: int = Field(ge=1)
    sequences: int = Field(ge=1)


class Cell(_Record):
    """Scores of one model: a cell of the grid mix x method x experts, or the original, which has no mix and no method.

    Attributes:
        mix: name of the calibration mix; None for the original.
        method: name of the compression method; None for the original.
        experts: experts kept in each layer.
        loss: held-out loss of each source.
        mean_loss: plain mean over the sources; None without sources.
        tasks: score of each task.
        mc: mean of the multiple-choice tasks, in percent (`suite_means`).
        gen: mean of the generative tasks, in percent.
        avg: mean of ``mc`` and ``gen``, in percent.
        parameters: number of the model's parameters.
        bytes: size of the checkpoint's tensors in the original's dtypes; None in files of earlier versions.
    """

    mix: str | None
    method: str | None
    experts: int = Field(ge=1)
    loss: dict[str, SourceLoss] = {}
    mean_loss: float | None = None
    tasks: dict[str, TaskScore] = {}
    mc: float | None = None
    gen: float | None = None
    avg: float | None = None
    parameters: int = Field(ge=1)
    bytes: int | None = Field(None, ge=1)


class Scores(_Record):
    """A file of results.

    Attributes:
        cells: scores of each model.
        settings: the sections of params.yaml that the scores depend on.
        versions: versions of ream and of the libraries that the scores depend on.
    """

    cells: list[Cell]
    settings: dict[str, Any] = {}
    versions: dict[str, str] = {}


def suite_means(values: Mapping[str, float], mc: Sequence[str], gen: Sequence[str]) -> dict[str, float | None]:
    """MC and GEN: plain means of the tasks' values; AVG: the mean of the two (docs/method.md, "Paper settings").

    Returns:
        {mc, gen, avg}. The mean of a kind without tasks is None, and so is avg if either is None.
    """
    mc_mean = sum(values[name] for name in mc) / len(mc) if mc else None
    gen_mean = sum(values[name] for name in gen) / len(gen) if gen else None
    avg = (mc_mean + gen_mean) / 2 if mc_mean is not None and gen_mean is not None else None
    return {"mc": mc_mean, "gen": gen_mean, "avg": avg}


def mean_loss(losses: Mapping[str, Mapping[str, float]]) -> float | None:
    """Plain mean of the sources' losses; None without sources."""
    return sum(loss["loss"] for loss in losses.values()) / len(losses) if losses else None


def ordered(cells: Sequence[Cell], mixes: Sequence[str], methods: Sequence[str], sizes: Sequence[int]) -> list[Cell]:
    """The original, then cells by mix, size and method in the order of the params file; other cells are left out."""
    place = {(mix, method, size): (mixes.index(mix), sizes.index(size), methods.index(method))
             for mix in mixes for method in methods for size in sizes}  # fmt: skip
    grid = [cell for cell in cells if (cell.mix, cell.method, cell.experts) in place]
    original = [cell for cell in cells if cell.method is None]
    return original + sorted(grid, key=lambda cell: place[str(cell.mix), str(cell.method), cell.experts])


def write_scores(path: str | Path, scores: Scores) -> None:
    """Write a file of results as JSON, atomically."""
    write_json(path, scores.model_dump())


def read_scores(path: str | Path) -> Scores:
    """Read a file of results.

    Raises:
        UserError: the file is missing, not JSON, or not a file of results.
    """
    tree = read_json(path)
    try:
        return Scores.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not a file of scores: {where}: {first['msg']}; evaluate again") from None
