import gzip
import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ream.calibration import file_formats, local_files
from ream.calibration.sources import iter_texts, resolved_revision
from ream.errors import UserError
from ream.params import FilesSource


def read(*paths, seed=0, column="text"):
    source = FilesSource(kind="files", paths=[str(path) for path in paths], column=column)
    return [document.text for document in iter_texts(source, seed)]


@pytest.fixture
def folder(tmp_path):
    """100 documents: 2 text files, 58 lines and 40 rows in row groups of 7."""
    (tmp_path / "a.txt").write_text("plain zero", encoding="utf-8")
    (tmp_path / "b.md").write_bytes("\ufeffplain öne".encode())
    lines = [json.dumps({"text": f"line {i}", "n": i}) for i in range(58)]
    (tmp_path / "c.jsonl").write_text("\n\n".join(lines[:30]) + "\n" + "\n".join(lines[30:]))
    table = pa.table({"id": list(range(40)), "text": [f"row {i}" for i in range(40)]})
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=7)
    return tmp_path


EXPECTED = ["plain zero", "plain öne", *(f"line {i}" for i in range(58)), *(f"row {i}" for i in range(40))]


def test_every_document_once_in_seeded_order(folder):
    first, again, other = read(folder / "*", seed=1), read(folder / "*", seed=1), read(folder / "*", seed=2)
    assert Counter(first) == Counter(other) == Counter(EXPECTED)
    assert first == again != other
    # Shuffled over all files, not file by file: the first half of the order has lines and rows.
    assert {"line", "row"} <= {text.split()[0] for text in first[:50]}


def test_block_size_changes_nothing(folder, monkeypatch):
    whole = read(folder / "*", seed=1)
    monkeypatch.setattr(local_files, "BLOCK", 3)
    assert read(folder / "*", seed=1) == whole


def test_identifiers_name_file_and_position(folder):
    source = FilesSource(kind="files", paths=[str(folder / "c.jsonl")])
    documents = {document.text: document.id for document in iter_texts(source, 0)}
    assert documents["line 0"] == f"{folder}/c.jsonl#1"
    assert documents["line 57"] == f"{folder}/c.jsonl#58"
    assert resolved_revision(source) is None


def test_compressed_files_have_the_documents_of_plain_ones(folder):
    plain = read(folder / "*", seed=1)
    for name, compression in (("a.txt", "gzip"), ("b.md", "zstd"), ("c.jsonl", "zstd")):
        file = folder / name
        suffix = {"gzip": ".gz", "zstd": ".zst"}[compression]
        with pa.output_stream(str(file) + suffix, compression=compression) as stream:
            stream.write(file.read_bytes())
        file.unlink()
    assert read(folder / "*", seed=1) == plain


def test_too_much_when_decompressed(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b" " * (3 << 20)))
    monkeypatch.setattr(file_formats, "MOST_TEXT_BYTES", 2 << 20)
    with pytest.raises(UserError, match=r"a\.jsonl\.gz: more than 2 MiB when decompressed"):
        read(tmp_path / "a.jsonl.gz")


def test_file_named_twice_counts_once(folder):
    assert len(read(folder / "c.jsonl", folder / "*.jsonl")) == 58


def test_patterns_go_into_folders(folder):
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "e.json").write_text('{"text": "deep"}\n')
    assert read(folder / "**" / "*.json") == ["deep"]


def test_other_column_and_null(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"content": "x", "text": "no"}\n{"content": null}\n')
    assert sorted(read(tmp_path / "a.jsonl", column="content")) == ["", "x"]
    pq.write_table(pa.table({"content": pa.array(["y", None], pa.large_string())}), tmp_path / "b.parquet")
    assert sorted(read(tmp_path / "b.parquet", column="content")) == ["", "y"]


def test_empty_files_among_others(tmp_path):
    for name in ("a", "c"):
        (tmp_path / f"{name}.jsonl").write_text("\n")
    (tmp_path / "b.jsonl").write_text('{"text": "only"}')
    assert read(tmp_path / "*.jsonl") == ["only"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            b"text\nx",
            r"a\.csv: files of type '\.csv' cannot be read; use \.jsonl, \.json, \.txt, \.md, .*, \.lua, these with "
            r"\.gz or \.zst behind, or \.parquet",
        ),
        ("a.csv.gz", b"", r"files of type '\.csv\.gz' cannot be read"),
        ("a.jsonl.gz", b'{"text": "x"}\n', r"a\.jsonl\.gz: not a gzip file, or damaged"),
        ("a.txt.gz", gzip.compress(b"abc" * 999, mtime=0)[:-9], r"a\.txt\.gz: not a gzip file, or damaged"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd rubbish", r"a\.jsonl\.zst: not a zstd file, or damaged"),
        ("a.txt.gz", gzip.compress(b"abc\xff", mtime=0), r"a\.txt\.gz: not UTF-8 at byte 3"),
        (
            "a.jsonl",
            b'{"text": "\\ud83d\\ude00"}\n{"text": "\\ud83d"}\n',
            r"a\.jsonl, line 2 has half of a ",
        ),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": \n', r"a\.jsonl, line 3 is not valid JSON"),
        ("a.jsonl", b'{"body": "x", "id": 1}\n', r"a\.jsonl, line 1: no column 'text'; it has: body, id"),
        ("a.jsonl", b'[{"text": "x"}]', r"a\.jsonl, line 1: list where one JSON object per line is expected"),
        ("a.json", b'[{"text": "x"}, 3]', r"a\.json, entry 2: int where a JSON object for each document is expected"),
        ("a.json", b'[{"text": "x"}', r"a\.json is not valid JSON"),
        ("a.jsonl", b'{"text": "x"}\n{"text": 3}\n', r"a\.jsonl, line 2: column 'text' holds int, not text"),
        ("a.jsonl", b'{"text": "\xff"}\n', r"a\.jsonl, line 1 is not valid JSON"),
        ("a.txt", b"abc\xff", r"a\.txt: not UTF-8 at byte 3"),
        ("a.parquet", b"nothing of the kind", r"a\.parquet: not a Parquet file"),
    ],
)
def test_bad_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)


def test_bad_parquet_columns(tmp_path):
    pq.write_table(pa.table({"body": ["x"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: no column 'text'; it has: body, n"):
        read(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: column 'n' holds int64, not text"):
        read(tmp_path / "a.parquet", column="n")


def test_no_match_and_folder(tmp_path):
    with pytest.raises(UserError, match=r"no file matches '.*none\*\.txt'"):
        read(tmp_path / "none*.txt")
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"no file in the folder .* can be read as text; give \.txt, "):
        read(tmp_path)


def test_a_folder_is_what_can_be_read_in_it_and_below(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "e.py").write_text("deep code")
    (folder / "picture.png").write_bytes(b"")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "f.txt").write_text("no")
    assert Counter(read(folder)) == Counter([*EXPECTED, "deep code"])


def test_a_json_list_has_a_document_for_each_entry(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"text": "one"}, {"text": "two"}], indent=1))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(b'\n [{"text": "three"}]'))
    assert sorted(read(tmp_path)) == ["one", "three", "two"]
