"""Mutated Parquet, JSON Lines and CSV: own tokens, texts of sources, and results of other runs."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from ream import params
from ream.analysis.results.imported import imported_rows
from ream.calibration.corpus import check_lengths, check_vocabulary, read_corpus
from ream.calibration.local_files import iter_files
from ream.params import FilesSource
from tests.properties.mutations import cases, json_texts, run, spliced

ROWS = {
    "source": ["a", "b", "a"], "input_ids": [[1, 2, 3], [4, 5], [6, 7, 8, 9]], "text": ["one", "two", None],
    "attention_mask": [[0, 1, 1], [1, 1], [1, 1, 0, 0]],
}  # fmt: skip


@pytest.fixture(params=["zstd", "none"])
def parquet(request, tmp_path):
    pq.write_table(pa.table(ROWS), tmp_path / "x.parquet", compression=request.param)
    return tmp_path / "x.parquet"


@cases(150)
def test_bytes_of_parquet(cases, parquet):
    """Own tokens, and text of a source."""
    whole = parquet.read_bytes()

    def check(data):
        parquet.write_bytes(data)
        for document in iter_files(FilesSource(kind="files", paths=[str(parquet)]), 0):
            assert isinstance(document.text, str)
        corpus = read_corpus(parquet)
        check_vocabulary(corpus, 1 << 31, parquet)
        check_lengths(corpus, 1 << 20, parquet)
        assert len(corpus.source) == len(corpus.sequences) > 0
        assert all(type(token) is int and token >= 0 for ids in corpus.sequences for token in ids)

    outcomes = run(check, spliced(whole), cases)
    assert min(outcomes.lines, outcomes.results) > 0


VALUES = st.one_of(
    st.none(), st.lists(st.integers(-2, 300) | st.none(), max_size=4), st.text(max_size=3), st.integers(), st.floats(),
    st.booleans(),
)  # fmt: skip


@st.composite
def tables(draw):
    """Tables with the columns of own tokens, of other types, orders and nulls."""
    count = draw(st.integers(0, 3))
    table = {}
    for name in draw(st.lists(st.sampled_from([*ROWS, "other"]), unique=True, min_size=1, max_size=4)):
        usual = ROWS.get(name, [1, 2, 3])[:count]
        column = usual if draw(st.booleans()) else [draw(VALUES) for _ in range(count)]
        try:
            table[name] = pa.array(column)
        except (pa.ArrowException, OverflowError):  # of mixed types
            table[name] = pa.array([str(value) for value in column])
    return pa.table(table)


@cases(200)
def test_columns_of_parquet(cases, tmp_path):
    path = tmp_path / "x.parquet"

    def check(table):
        pq.write_table(table, path)
        corpus = read_corpus(path)
        assert len(corpus.sequences) == table.num_rows > 0
        assert all(ids and min(ids) >= 0 for ids in corpus.sequences)

    outcomes = run(check, tables(), cases)
    assert min(outcomes.lines, outcomes.results) > 0


@cases(150)
def test_json_lines(cases, tmp_path):
    path = tmp_path / "x.jsonl"

    def check(text):
        path.write_text(f'{text}\n{{"text": "more"}}\n', encoding="utf-8", errors="surrogatepass")
        documents = list(iter_files(FilesSource(kind="files", paths=[str(path)]), 0))
        assert all(isinstance(document.text, str) for document in documents)

    outcomes = run(check, json_texts({"text": "words", "more": [1, {"a": None}]}), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


SUITE = params.Suite(mc=["arc_easy"], gen=["gsm8k"])
LM_EVAL = {
    "results": {
        "arc_easy": {"alias": "arc_easy", "acc,none": 0.5, "acc_stderr,none": 0.01, "acc_norm,none": 0.4},
        "gsm8k": {"exact_match,flexible-extract": 0.25, "exact_match_stderr,flexible-extract": "N/A"},
    },
    "model_name": "m",
    "config": {"model": "hf"},
}


def rows_of(path, **more):
    entry = params.Import(path=str(path), **more)
    rows = imported_rows({"other": entry}, SUITE.mc, SUITE.gen, ["general", "math", "code"])
    assert rows
    for row in rows:
        assert all(0 <= score.value <= 100 for score in (*row.mc_tasks.values(), *row.gen_tasks.values()))
    return rows


@cases(150)
def test_results_of_lm_eval(cases, tmp_path):
    def check(text):
        (tmp_path / "results_1.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        rows_of(tmp_path / "results_1.json", model="m", method="reap", experts=4)

    outcomes = run(check, json_texts(LM_EVAL, keys=["results"]), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


CSV = "model,method,experts,arc_easy,gsm8k,MC,GEN,AVG\nm,reap,4,50.0,25.0,50.0,25.0,37.5\nm,ean,4,40,20,40,20,30\n"


@cases(150)
def test_results_in_csv(cases, tmp_path):
    def check(data):
        (tmp_path / "x.csv").write_bytes(data)
        rows_of(tmp_path / "x.csv")

    special = [CSV.replace("4", "9" * 5000), CSV.replace("50.0", "nan"), CSV.replace("m,", "\x1b[2J,")]
    drawn = spliced(CSV.encode()) | (spliced(CSV) | st.sampled_from(special)).map(str.encode)
    outcomes = run(check, drawn, cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


def test_the_sound_files_are_accepted(tmp_path, parquet):
    (tmp_path / "r.json").write_text(json.dumps(LM_EVAL))
    (tmp_path / "x.csv").write_text(CSV)
    assert len(rows_of(tmp_path / "r.json", model="m", method="reap", experts=4)) == 1
    assert len(rows_of(tmp_path / "x.csv")) == 2
    assert read_corpus(parquet).sequences == [[2, 3], [4, 5], [6, 7]]
