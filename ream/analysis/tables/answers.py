"""What is to be told about the answers behind the scores, as a table (docs/evaluation.md)."""

from collections.abc import Sequence

from ream.analysis.tables.table import Column, Table, Value
from ream.evaluation.answer_counts import AnswerCounts
from ream.evaluation.scores import Cell

CAPTION = (
    "Answers behind the scores: questions, and of these the prompts that lost their beginning; of the answers those "
    "cut by the limit of tokens, those without a result, those that end while thinking and those that end in a loop; "
    "mean length in tokens; the score, and the score by our own extractor"
)
COUNTED = ("questions", "truncated", "cut", "unparsed", "thinking_open", "loops")


def table_of_answers(cells: Sequence[Cell]) -> Table | None:
    """A row for each model and generative task, and for other tasks whose prompts were truncated; None without any.

    Args:
        cells: the evaluated models; those of earlier versions have no counts.
    """
    lines: list[tuple[Value, ...]] = [
        (
            cell.method or "original", cell.mix, cell.experts, task,
            *(getattr(score.counts, name) for name in COUNTED), score.counts.mean_tokens, score.value, score.robust,
        )
        for cell in cells
        for task, score in cell.tasks.items()
        if score.counts is not None and _shown(score.counts)
    ]  # fmt: skip
    columns = (
        *(Column(name) for name in ("method", "mix", "experts", "task")),
        *(Column(name.replace("_", " ")) for name in COUNTED),
        Column("mean tokens", 1),
        Column("score", 1),
        Column("robust score", 1),
    )
    return Table("table-answers", CAPTION, columns, tuple(lines)) if lines else None


def _shown(counts: AnswerCounts) -> bool:
    return bool(counts.answers or counts.truncated)
