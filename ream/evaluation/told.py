"""What a person is told of a model's scores, in lines."""

from collections.abc import Sequence

from ream.evaluation.answer_counts import warnings_of
from ream.evaluation.scores import Cell

DIFFERENCE = 2.0  # percentage points between a score and the robust one that are worth a warning


def summary(cell: Cell) -> str:
    """A cell's scores in one line."""
    name = f"{cell.mix} {cell.method}" if cell.method else "original"
    values = {"loss": cell.mean_loss, "MC": cell.mc, "GEN": cell.gen}
    shown = ", ".join(f"{key} {value:.3f}" for key, value in values.items() if value is not None)
    return f"{name} {cell.experts} experts: {shown}"


def details(cell: Cell) -> list[str]:
    """A line for each loss, in nats a token, and each task, in percent, with standard errors where there are any."""
    rows = [
        (f"loss {name}", f"{loss.loss:.4f}", f"± {loss.stderr:.4f}", f"nats a token, {loss.sequences} windows")
        for name, loss in cell.loss.items()
    ] + [
        (name, f"{task.value:.1f}", "" if task.stderr is None else f"± {task.stderr:.1f}", f"%, {task.items} questions")
        for name, task in cell.tasks.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        f"  {name:<{widths[0]}}  {value:>{widths[1]}} {error:<{widths[2]}} {what}" for name, value, error, what in rows
    ]


def warnings(cell: Cell) -> list[str]:
    """A line for each task about whose answers there is something to be told, and where two extractors differ."""
    differ = [
        f"task '{name}': {score.metric} is {score.value:.1f}, but by our own extractor {score.robust:.1f} % are right "
        "(docs/evaluation.md)"
        for name, score in cell.tasks.items()
        if score.robust is not None and abs(score.robust - score.value) >= DIFFERENCE
    ]
    return [*warnings_of((name, score.counts) for name, score in cell.tasks.items()), *differ]


def again(finished: Sequence[str]) -> str:
    """A line that says that an evaluation goes on after the finished tasks of an earlier run."""
    return f"goes on after {len(finished)} finished tasks of an earlier run: {', '.join(finished)}"


def told(cell: Cell, finished: Sequence[str]) -> str:
    """A cell's scores in one line; lines that say which tasks an earlier run had finished, and of warnings."""
    reused = [again(finished)] if finished else []
    return "\n".join([summary(cell), *reused, *(f"warning: {line}" for line in warnings(cell))])
