import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ream.errors import UserError
from ream.evaluation.answer_table import SCHEMA, answers_path, read_tables, values_of, write_answers, write_tables
from ream.evaluation.answers import Answer
from tests.evaluation.answer_rows import row


def test_columns_are_the_fields_of_an_answer():
    assert tuple(SCHEMA.names) == Answer._fields


def test_answers_are_read_as_they_were_written_one_table_a_task(tmp_path):
    path = tmp_path / "new" / "answers.parquet"
    first, second = [row(doc_id=0), row(doc_id=1, cut=None, tokens=None, unparsed=None)], [row(task="u", robust=0.5)]
    write_answers(path, [first, second])
    tables = list(read_tables(path))
    assert [table.num_rows for table in tables] == [2, 1]
    assert [Answer(**line) for table in tables for line in table.to_pylist()] == [*first, *second]
    before = path.read_bytes()
    write_tables(path, tables)
    assert path.read_bytes() == before


def test_values_by_question_are_of_the_first_answer(tmp_path):
    first = [row(doc_id=0), row(doc_id=0, repeat=1, correct=0.0), row(doc_id=1, correct=None), row(doc_id=2, correct=0)]
    write_answers(tmp_path / "a", [first, [row(task="g", subtask="u", correct=0.5), row(task="g", subtask="v")]])
    assert values_of(tmp_path / "a") == {
        "t": {("t", 0, "0a"): 1.0, ("t", 2, "0a"): 0.0},
        "g": {("u", 0, "0a"): 0.5, ("v", 0, "0a"): 1.0},
    }


def test_half_a_character_is_written_as_a_question_mark(tmp_path):
    write_answers(tmp_path / "a", [[row(answer="a\ud83d\u00e9")]])
    assert next(read_tables(tmp_path / "a"))["answer"].to_pylist() == ["a?\u00e9"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.parquet"
    write_answers(path, [[row()]])

    def failing():
        yield [row(doc_id=7)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_answers(path, failing())
    assert next(read_tables(path))["doc_id"].to_pylist() == [0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_other_files_are_refused(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text").write_text("no Parquet")
    for name, message in (("other.parquet", "does not hold answers"), ("text", "cannot be read"), ("none", "cannot")):
        with pytest.raises(UserError, match=message):
            list(read_tables(tmp_path / name))


def test_the_file_lies_beside_the_results(tmp_path):
    assert answers_path(tmp_path / "scores.json") == tmp_path / "scores.answers.parquet"
    assert answers_path(tmp_path / "scores") == tmp_path / "scores.answers.parquet"
