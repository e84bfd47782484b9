import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ream.calibration import corpus
from ream.calibration.corpus import check_lengths, check_vocabulary, read_corpus, write_corpus
from ream.errors import UserError

ROWS = [("math", [5, 6, 7]), ("code", [1]), ("math", [0, 2**31 - 1])]
FACTS = {"seed": 0, "counts": {"tokens": 6}, "revision": None, "name": "größe"}


def foreign(path, source, ids, kind=None):
    pq.write_table(pa.table({"source": source, "input_ids": pa.array(ids, kind)}), path)
    return path


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "folder" / "c.parquet"
    write_corpus(path, iter(ROWS), FACTS)
    rows = read_corpus(path)
    assert rows.source == ["math", "code", "math"]
    assert rows.sequences == [[5, 6, 7], [1], [0, 2**31 - 1]]
    assert rows.facts == FACTS
    assert list(path.parent.iterdir()) == [path]
    schema = pq.read_schema(path)
    assert schema.field("input_ids").type == pa.list_(pa.int32())
    assert json.loads(schema.metadata[b"ream"]) == FACTS


def test_same_rows_same_bytes(tmp_path):
    write_corpus(tmp_path / "a.parquet", ROWS, FACTS)
    write_corpus(tmp_path / "b.parquet", ROWS, dict(reversed(FACTS.items())))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("rows", [ROWS, [("größe", [7])], []])
def test_same_bytes_as_of_arrows_own_table(tmp_path, rows):
    write_corpus(tmp_path / "ours.parquet", rows, FACTS)
    table = pa.table({"source": [name for name, _ in rows], "input_ids": [ids for _, ids in rows]}, corpus.SCHEMA)
    table = table.replace_schema_metadata({b"ream": json.dumps(FACTS, sort_keys=True)})
    pq.write_table(table, tmp_path / "arrows.parquet", compression="zstd")
    assert (tmp_path / "ours.parquet").read_bytes() == (tmp_path / "arrows.parquet").read_bytes()


def test_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "c.parquet"
    write_corpus(path, ROWS, FACTS)
    before = path.read_bytes()

    def fail(table, where, **_):
        where.write_bytes(b"half")
        raise OSError(28, "disk full")

    monkeypatch.setattr(corpus.pq, "write_table", fail)
    with pytest.raises(UserError, match="cannot be written: disk full"):
        write_corpus(path, ROWS[:1], {})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_select(tmp_path):
    write_corpus(tmp_path / "c.parquet", ROWS, FACTS)
    rows = read_corpus(tmp_path / "c.parquet")
    assert rows.select(None) is rows
    assert rows.select("math").sequences == [[5, 6, 7], [0, 2**31 - 1]]
    assert rows.select("math").source == ["math", "math"]
    with pytest.raises(UserError, match=r"source 'mat' is unknown; did you mean 'math'\? the file has: code, math"):
        rows.select("mat")


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.int64()), pa.large_list(pa.uint32()), pa.list_(pa.int16(), 2), pa.list_(pa.uint64())],
    ids=str,
)
def test_other_integer_lists(tmp_path, kind):
    path = foreign(tmp_path / "f.parquet", pa.array(["a", "b"]).dictionary_encode(), [[3, 4], [5, 6]], kind)
    rows = read_corpus(path)
    assert rows.sequences == [[3, 4], [5, 6]]
    assert all(type(token) is int for ids in rows.sequences for token in ids)
    assert rows.source == ["a", "b"]
    assert rows.facts == {}


def test_many_row_groups_and_further_columns(tmp_path):
    ids = [list(range(1, n + 2)) for n in range(100)]
    table = pa.table({"label": [1] * 100, "input_ids": ids, "source": ["s"] * 100})
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=9)
    assert read_corpus(tmp_path / "f.parquet").sequences == ids


MASKS = [pa.list_(pa.int64()), pa.list_(pa.bool_()), pa.large_list(pa.int8()), pa.list_(pa.uint8(), 5)]


def masked(path, ids, masks, kind=None, **options):
    mask = pa.array(masks) if kind is None else pa.array(masks).cast(kind)
    table = pa.table({"source": ["a"] * len(ids), "input_ids": ids, "attention_mask": mask})
    pq.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("kind", MASKS, ids=str)
def test_padding_is_left_out(tmp_path, kind):
    """On the left, on the right, on both sides, and nowhere; what stands in it is not looked at."""
    ids = [[-100, 9, 1, 2, 3], [4, 5, 0, 0, 9], [0, 6, None, -1, 9], [0, 7, 0, 8, 0]]
    masks = [[0, 0, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    rows = read_corpus(masked(tmp_path / "f.parquet", ids, masks, kind))
    assert rows.sequences == [[1, 2, 3], [4, 5], [6], [0, 7, 0, 8, 0]]
    assert all(type(token) is int for row in rows.sequences for token in row)


def test_masks_of_many_row_groups(tmp_path):
    ids = [[9] * (n % 4) + list(range(n + 1)) + [9] * (n % 3) for n in range(100)]
    masks = [[0] * (n % 4) + [1] * (n + 1) + [0] * (n % 3) for n in range(100)]
    path = masked(tmp_path / "f.parquet", ids, masks, row_group_size=9)
    assert read_corpus(path).sequences == [list(range(n + 1)) for n in range(100)]


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        ([5, 6, 7], [1, 0, 1], "attention_mask has a 0 between 1s, but padding stands only before or behind"),
        ([5, 6, 7], [True, False, True], "attention_mask has a 0 between 1s"),
        ([5, 6, 7], [1, 1], "attention_mask has length 2, but input_ids has length 3"),
        ([5, 6, 7], [1, 1, 1, 0], "attention_mask has length 4, but input_ids has length 3"),
        ([5, 6, 7], None, "attention_mask has length 0, but input_ids has length 3"),
        ([5, 6, 7], [0, 0, 0], "attention_mask has no 1, so all is padding"),
        ([5, 6, 7], [0, 1, 2], "attention_mask has a value other than 0 and 1"),
        ([5, 6, 7], [0, 1, -1], "attention_mask has a value other than 0 and 1"),
        ([5, 6, 7], [0, 1, None], "attention_mask has a value other than 0 and 1"),
        ([5, -6, 7], [1, 1, 0], "a negative id"),
        ([5, None, 7], [1, 1, 0], "an empty value among its tokens"),
        ([], [], "no tokens"),
    ],
)
def test_bad_masks(tmp_path, ids, mask, message):
    good = [type(mask[0])(1)] if mask else [1]
    path = masked(tmp_path / "f.parquet", [[1], ids], [good, mask])
    with pytest.raises(UserError, match=rf"f\.parquet, row 2: {message}.*; correct the row or remove it$") as error:
        read_corpus(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mask", "holds"),
    [([1], "int64"), ([[1.0]], r"list<\w+: double>"), ([["1"]], r"list<\w+: string>"), ([None], "null")],
)
def test_masks_of_another_type(tmp_path, mask, holds):
    path = masked(tmp_path / "f.parquet", [[1]], mask)
    with pytest.raises(UserError, match=rf"f\.parquet: column 'attention_mask' holds {holds}; lists of 0 and 1 are"):
        read_corpus(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"input_ids": [[1]]}, r"has no column 'source', only input_ids; rows of \{source: string"),
        ({"source": ["a"], "tokens": [[1]]}, r"has no column 'input_ids', only source, tokens"),
        ({"source": [1], "input_ids": [[1]]}, r"column 'source' holds int64"),
        ({"source": ["a"], "input_ids": [[1.5]]}, r"column 'input_ids' holds list<\w+: double>"),
        ({"source": ["a"], "input_ids": [1]}, r"column 'input_ids' holds int64"),
        ({"source": ["a"], "input_ids": [[True]]}, r"column 'input_ids' holds list<\w+: bool>"),
        ({"source": pa.array([], pa.string()), "input_ids": pa.array([], pa.list_(pa.int32()))}, r"has no rows"),
        ({"source": ["a", None], "input_ids": [[1], [2]]}, r", row 2: source is empty"),
        ({"source": ["a", "a"], "input_ids": [[1], []]}, r", row 2: no tokens; correct the row or remove it"),
        ({"source": ["a", "a"], "input_ids": [None, [1]]}, r", row 1: no tokens"),
        ({"source": ["a", "a"], "input_ids": [[1], [2, None]]}, r", row 2: an empty value among its tokens"),
        ({"source": ["a", "a"], "input_ids": [[1], [2, -1]]}, r", row 2: a negative id"),
    ],
)
def test_bad_tables(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "f.parquet")
    with pytest.raises(UserError, match=message):
        read_corpus(tmp_path / "f.parquet")


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match=r"none\.parquet is not a file; name a Parquet file: rows"):
        read_corpus(tmp_path / "none.parquet")
    (tmp_path / "f.parquet").write_text("text")
    with pytest.raises(UserError, match=r"f\.parquet is not a Parquet file"):
        read_corpus(tmp_path / "f.parquet")
    with pytest.raises(UserError, match=r"is not a file"):
        read_corpus(tmp_path)
    table = pa.table({"source": ["a"], "input_ids": [[1]]}).replace_schema_metadata({b"ream": b"{"})
    pq.write_table(table, tmp_path / "g.parquet")
    with pytest.raises(UserError, match=r"metadata 'ream' is not valid JSON"):
        read_corpus(tmp_path / "g.parquet")


def test_vocabulary():
    rows = corpus.Corpus(["a", "a"], [[0, 9], [10, 3]], {})
    check_vocabulary(rows, 11, Path("f.parquet"))
    with pytest.raises(UserError, match=r"^f\.parquet, row 2: token id 10 is outside the model's vocabulary of 10;"):
        check_vocabulary(rows, 10, Path("f.parquet"))


def test_lengths():
    rows = corpus.Corpus(["a", "a"], [[0, 9], [10, 3, 1]], {})
    check_lengths(rows, 3, Path("f.parquet"))
    check_lengths(rows, None, Path("f.parquet"))
    with pytest.raises(
        UserError, match=r"^f\.parquet, row 2: 3 tokens are more than the model's 2 positions \(max_pos"
    ):
        check_lengths(rows, 2, Path("f.parquet"))


def test_numpy_rows_are_written(tmp_path):
    write_corpus(tmp_path / "c.parquet", [("a", np.arange(3))], {})
    assert read_corpus(tmp_path / "c.parquet").sequences == [[0, 1, 2]]
