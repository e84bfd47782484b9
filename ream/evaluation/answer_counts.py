"""Counts over the answers behind a score, and warnings; light to import, for the report."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from ream.evaluation.answers import Answer


class AnswerCounts(BaseModel):
    """Counts over the answers to a task's questions.

    Attributes:
        questions: number of questions.
        truncated: questions whose prompt lost its beginning, because it did not fit in the model's context or in
            evaluation.max_length.
        answers: generated answers; 0 for a task that scores choices, whose further counts are None.
        cut: answers that the limit of tokens ended; None where the backend does not say.
        cut_wrong: those among them whose score is 0.
        unparsed: answers in which the task's filter found no result, or that are empty.
        thinking_open: answers that end while the model is thinking.
        loops: answers that end in a loop (`ream.evaluation.answer_faults.looping`).
        mean_tokens: mean length of the answers in tokens; None where the backend does not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    questions: int = Field(ge=0)
    truncated: int = Field(ge=0)
    answers: int = Field(0, ge=0)
    cut: int | None = None
    cut_wrong: int | None = None
    unparsed: int | None = None
    thinking_open: int | None = None
    loops: int | None = None
    mean_tokens: float | None = None


def counts_of(answers: "Sequence[Answer]") -> AnswerCounts:
    """The counts over a task's answers."""
    questions = len({(answer.subtask, answer.doc_id) for answer in answers})
    truncated = len({(answer.subtask, answer.doc_id) for answer in answers if answer.truncated})
    generated = [answer for answer in answers if answer.unparsed is not None]
    if not generated:
        return AnswerCounts(questions=questions, truncated=truncated)
    known = [answer for answer in generated if answer.cut is not None]
    lengths = [answer.tokens for answer in generated if answer.tokens is not None]
    return AnswerCounts(
        questions=questions,
        truncated=truncated,
        answers=len(generated),
        cut=sum(answer.cut is True for answer in known) if known else None,
        cut_wrong=sum(answer.cut is True and answer.correct == 0 for answer in known) if known else None,
        unparsed=sum(answer.unparsed is True for answer in generated),
        thinking_open=sum(answer.open is True for answer in generated),
        loops=sum(answer.loops is True for answer in generated),
        mean_tokens=sum(lengths) / len(lengths) if lengths else None,
    )


def robust_score(answers: "Sequence[Answer]") -> dict[str, float]:
    """{robust: mean of the answers' values by our own extractor, in percent}; empty for tasks without."""
    values = [answer.robust for answer in answers if answer.robust is not None]
    return {"robust": 100 * sum(values) / len(values)} if values else {}


def warnings_of(counts: "Iterable[tuple[str, AnswerCounts | None]]") -> list[str]:
    """One line for each task about whose answers there is something to be told.

    Args:
        counts: task and its counts; None for results of earlier versions.
    """
    lines = ((task, _told(found)) for task, found in counts if found is not None)
    return [f"task '{task}': {'; '.join(told)}" for task, told in lines if told]


def _told(counts: AnswerCounts) -> list[str]:
    """What is to be told about a task's answers, and what to do."""
    told = []
    if counts.truncated:
        told.append(
            f"{counts.truncated} of {counts.questions} prompts lost their beginning, because they do not fit: raise "
            "evaluation.max_length, or ask for fewer examples or shorter answers"
        )
    parts = [
        (counts.cut_wrong, "were cut by the limit of tokens and are wrong (suites.*.generation raises max_gen_toks)"),
        (counts.thinking_open, "end while the model is thinking"),
        (counts.loops, "end in a loop"),
        (counts.unparsed, "have no result that the task's filter finds"),
    ]
    told += [f"{number} of {counts.answers} answers {what}" for number, what in parts if number]
    return told
