"""Parquet files of answers, a row for each: for metrics computed anew, and two models question by question.

The columns are the fields of `ream.evaluation.answers.Answer`. The rows hold no question, only a hash of the prompt. A
file is written one task after the other, so that no more than one task's answers are in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ream.errors import UserError
from ream.machine.files import replacing

if TYPE_CHECKING:
    from ream.evaluation.answers import Answer

Question = tuple[str, int, str]  # subtask, number, hash of the prompt
SCHEMA = pa.schema(
    [
        ("task", pa.string()), ("subtask", pa.string()), ("doc_id", pa.int64()), ("repeat", pa.int32()),
        ("prompt_hash", pa.string()), ("answer", pa.string()), ("parsed", pa.string()), ("correct", pa.float64()),
        ("robust", pa.float64()), ("tokens", pa.int64()), ("cut", pa.bool_()), ("truncated", pa.bool_()),
        ("unparsed", pa.bool_()), ("open", pa.bool_()), ("loops", pa.bool_()),
    ]
)  # fmt: skip


def answers_path(results: Path, number: int | None = None) -> Path:
    """The file of answers that lies beside a file of results: scores.json has scores.answers.parquet.

    Args:
        results: the file of results.
        number: of the model in it, from 0, where there are several: scores.0.answers.parquet; None for one alone.
    """
    which = "" if number is None else f".{number}"
    return results.with_name(f"{results.name.removesuffix('.json')}{which}.answers.parquet")


def write_answers(path: Path, tasks: "Iterable[Sequence[Answer]]") -> None:
    """Write the answers of each task in turn, atomically.

    Raises:
        UserError: the file cannot be written.
    """
    write_tables(path, (_table(answers) for answers in tasks))


def write_tables(path: Path, tables: Iterable[pa.Table]) -> None:
    """Write tables of SCHEMA one after the other, atomically; the same tables give the same bytes.

    Raises:
        UserError: the file cannot be written.
    """
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def read_tables(path: Path) -> Iterator[pa.Table]:
    """The tables of a file, each no larger than what was written at once; nothing of another file is executed.

    Raises:
        UserError: the file does not exist, or does not hold answers.
    """
    try:
        with pq.ParquetFile(path) as file:
            if not file.schema_arrow.equals(SCHEMA):
                raise UserError(f"{path} does not hold answers of an evaluation; evaluate again")
            for group in range(file.num_row_groups):
                yield file.read_row_group(group)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} cannot be read ({error}); evaluate again") from None


def values_of(path: Path) -> dict[str, dict[Question, float]]:
    """Task to question to the value of the task's metric, of the first answer where there are several.

    Questions without a value, whose metric is one over all questions together, are left out.

    Raises:
        UserError: see `read_tables`.
    """
    values: dict[str, dict[Question, float]] = {}
    for table in read_tables(path):
        columns = (
            table[name].to_pylist() for name in ("task", "subtask", "doc_id", "prompt_hash", "repeat", "correct")
        )
        for task, subtask, doc_id, prompt_hash, repeat, correct in zip(*columns, strict=True):
            if correct is not None and repeat == 0:
                values.setdefault(task, {})[subtask, doc_id, prompt_hash] = correct
    return values


def _table(answers: "Sequence[Answer]") -> pa.Table:
    """Answers as columns; a lone surrogate, which no file of text can hold, becomes a question mark."""
    columns = [
        pa.array([_encodable(getattr(answer, field.name)) for answer in answers], field.type) for field in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _encodable(value: object) -> object:
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
