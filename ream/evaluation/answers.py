"""The answers of a model, question by question, with what lm-eval does not pass on about how they were generated."""

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ream.evaluation.answer_faults import looping, parsed_nothing, thinking_left_open
from ream.evaluation.lm_eval_types import Task


class Generated(NamedTuple):
    """How one answer was generated.

    Attributes:
        tokens: number of generated tokens, with the one that ended the answer.
        cut: whether the limit of tokens ended it.
        thought: whether the model ended its thinking, and the backend has taken the thinking off the answer.
    """

    tokens: int
    cut: bool
    thought: bool = False


class Answer(NamedTuple):
    """One answer to one question.

    Attributes:
        task: name of the suite's task, which may be a group such as mmlu.
        subtask: name of the task that the question belongs to; the same, but in a group.
        doc_id: number of the question within the subtask.
        repeat: number of the answer to this question.
        prompt_hash: SHA-256 of the prompt, in hexadecimal.
        answer: the text; for other than generated answers the model's numbers as JSON, such as the choices'
            log-likelihoods.
        parsed: what the task's filter made of it; of a multiple choice the number of the likeliest choice.
        correct: the question's value of the task's metric, mostly 0 or 1; None where it is not a number.
        robust: the same by our own extractor (`ream.evaluation.robust`); None for tasks without.
        tokens: see `Generated`; None where the backend does not say, and for answers that were not generated.
        cut: see `Generated`.
        truncated: whether the prompt lost its beginning because it did not fit.
        unparsed: whether the filter found no result in the answer; None where the answer was not generated, as in
            the next two.
        open: whether the answer ends while the model is thinking (`thinking_left_open`).
        loops: whether the answer ends in a loop (`looping`).
    """

    task: str
    subtask: str
    doc_id: int
    repeat: int
    prompt_hash: str
    answer: str
    parsed: str | None
    correct: float | None
    robust: float | None
    tokens: int | None
    cut: bool | None
    truncated: bool
    unparsed: bool | None
    open: bool | None
    loops: bool | None


class AnswerRecorder:
    """Collects how answers were generated, as the hook that lm-eval calls after each (``LM.cache_hook``).

    A backend that generates a batch calls `queue` with a value for each row. lm-eval then calls `add_partial` for each
    row in the same order, with the prompt and the final text. A backend that calls nothing leaves nothing to `take`.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything, before the next task."""
        self._queue: deque[Generated] = deque()
        self._generated: dict[tuple[str, str], deque[Generated]] = defaultdict(deque)
        self._truncated: set[tuple[str, ...]] = set()

    def queue(self, rows: Iterable[Generated]) -> None:
        """Record how the rows of a batch were generated."""
        self._queue.extend(rows)

    def add_partial(self, kind: str, request: Sequence[Any], answer: Any) -> None:
        """Called by lm-eval for each answer, generated or not."""
        if kind == "generate_until" and self._queue:
            self._generated[request[0], answer].append(self._queue.popleft())

    def add_truncated(self, texts: Iterable[tuple[str, ...]]) -> None:
        """Record the texts of requests, (prompt,) or (prompt, continuation), whose prompt lost its beginning."""
        self._truncated.update(texts)

    def take(self, prompt: str, answer: str) -> Generated | None:
        """How the next answer of this text to this prompt was generated; None where no backend said so."""
        rows = self._generated.get((prompt, answer))
        return rows.popleft() if rows else None

    def truncated(self, arguments: Sequence[Any]) -> bool:
        """Whether the prompt of a request with these arguments of lm-eval lost its beginning."""
        return tuple(text for text in arguments if isinstance(text, str)) in self._truncated


def answers_of(
    task: str,
    samples: Mapping[str, Sequence[Mapping[str, Any]]],
    tasks: Mapping[str, Task],
    metric: str,
    chosen: str,
    recorder: AnswerRecorder,
    robust: Any = None,
) -> Iterator[Answer]:
    """The answers to all questions of a task, or of the tasks of a group.

    Args:
        task: name of the suite's task.
        samples: subtask to the samples of ``lm_eval.evaluate(log_samples=True)``.
        tasks: the loaded tasks by name.
        metric: metric of the score.
        chosen: filter of the score.
        recorder: what the model recorded meanwhile.
        robust: question and text to the value by our own extractor; None for tasks without.
    """
    for name, rows in samples.items():
        generative = tasks[name].OUTPUT_TYPE == "generate_until"
        for row in sorted((row for row in rows if row["filter"] == chosen), key=lambda row: int(row["doc_id"])):
            if generative:
                yield from _of_question((task, name), row, metric, recorder, robust)
            else:
                yield _of_choices((task, name), row, metric, recorder)


def _of_question(
    names: tuple[str, str], row: Mapping[str, Any], metric: str, recorder: AnswerRecorder, robust: Any
) -> Iterator[Answer]:
    """The answers, mostly one, that were generated to a question."""
    prompt, texts = row["arguments"][0][0], row["resps"][0]
    filtered = row["filtered_resps"][0]
    parsed = filtered if isinstance(filtered, list) and len(filtered) == len(texts) else [filtered] * len(texts)
    for repeat, (text, result) in enumerate(zip(texts, parsed, strict=True)):
        generated = recorder.take(prompt, text)
        value = None if robust is None else robust(row["doc"], text)
        yield Answer(
            task=names[0],
            subtask=names[1],
            doc_id=int(row["doc_id"]),
            repeat=repeat,
            prompt_hash=row["prompt_hash"],
            answer=text,
            parsed=str(result),
            correct=_number(row.get(metric)),
            robust=None if value is None else value.correct,
            tokens=None if generated is None else generated.tokens,
            cut=None if generated is None else generated.cut,
            truncated=recorder.truncated(row["arguments"][0]),
            unparsed=parsed_nothing(str(result)) or (value is not None and not value.found and str(result) == text),
            open=thinking_left_open(prompt, text) and not (generated is not None and generated.thought),
            loops=looping(text),
        )


def _of_choices(names: tuple[str, str], row: Mapping[str, Any], metric: str, recorder: AnswerRecorder) -> Answer:
    """The answer to a question by log-likelihoods."""
    numbers = [response[0][0] if isinstance(response[0], tuple | list) else response[0] for response in row["resps"]]
    return Answer(
        task=names[0],
        subtask=names[1],
        doc_id=int(row["doc_id"]),
        repeat=0,
        prompt_hash=row["prompt_hash"],
        answer=json.dumps([float(number) for number in numbers]),
        parsed=str(max(range(len(numbers)), key=numbers.__getitem__)),
        correct=_number(row.get(metric)),
        robust=None,
        tokens=None,
        cut=None,
        truncated=any(recorder.truncated(arguments) for arguments in row["arguments"]),
        unparsed=None,
        open=None,
        loops=None,
    )


def _number(value: Any) -> float | None:
    """A question's value of a metric; None where it is something else, as of metrics over all questions together."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
