"""Hub sources on local folders of the same schemas, read by ``datasets``; errors of the hub are simulated."""

import json
from collections import Counter
from types import SimpleNamespace

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import HTTPError

from ream.calibration.sources import iter_texts, resolved_revision
from ream.errors import UserError
from ream.params import HubSource

SHA, OTHER = "0123456789abcdef" * 2 + "01234567", "f" * 40


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)  # 5 s after each streamed Parquet set


@pytest.fixture
def numina(tmp_path):
    """NuminaMath's columns: 3 of 4 problem sources times 10, in JSON Lines."""
    rows = [
        {
            "problem": f"p{i}",
            "solution": f"s{i}",
            "source": ["cn_k12", "olympiads", "synthetic_math", "amc_aime"][i % 4],
        }
        for i in range(40)
    ]
    folder = tmp_path / "numina"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def stack(tmp_path):
    """The Stack's columns, one null content, in two Parquet shards."""
    folder = tmp_path / "stack" / "data"
    folder.mkdir(parents=True)
    for shard in range(2):
        content = [f"code {shard}/{i}" if i else None for i in range(5)]
        table = pa.table({"content": content, "lang": ["Python"] * 5, "size": [shard] * 5})
        pq.write_table(table, folder / f"train-{shard:05d}-of-00002.parquet")
    return folder.parent


def hub(folder, **settings):
    return HubSource(kind="hub", dataset=str(folder), **settings)


def read(source, seed=0):
    return [document.text for document in iter_texts(source, seed)]


@pytest.mark.parametrize("streaming", [True, False])
def test_where_keeps_the_rows_asked_for(numina, streaming):
    source = hub(numina, column="solution", where={"source": ["cn_k12", "olympiads"]}, streaming=streaming)
    first, again, other = read(source, 1), read(source, 1), read(source, 2)
    assert sorted(first) == sorted(other) == sorted(f"s{i}" for i in range(40) if i % 4 < 2)
    assert first == again != other
    assert [document.id for document in iter_texts(source, 1)][:2] == [f"{numina}/train/1/0", f"{numina}/train/1/1"]


def test_every_where_column_must_match(stack):
    source = hub(stack, column="content", where={"lang": ["Python"], "size": ["1", "7"]})
    assert sorted(read(source)) == ["", *(f"code 1/{i}" for i in range(1, 5))]


def test_parquet_shards_and_null_text(stack):
    assert sorted(read(hub(stack, column="content"))) == sorted(
        ["", "", *(f"code {shard}/{i}" for shard in range(2) for i in range(1, 5))]
    )


def test_config_and_split(tmp_path):
    """C4's layout: configs declared in the card, named splits, column text."""
    folder = tmp_path / "c4"
    (folder / "en").mkdir(parents=True)
    (folder / "en" / "c4-validation.json").write_text('{"text": "v0", "url": "u"}\n{"text": "v1", "url": "u"}\n')
    (folder / "en" / "c4-train.json").write_text('{"text": "t", "url": "u"}\n')
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files:\n  - split: train\n    path: en/c4-train.json\n"
        "  - split: validation\n    path: en/c4-validation.json\n---\n"
    )
    assert sorted(read(hub(folder, config="en", split="validation"))) == ["v0", "v1"]
    with pytest.raises(UserError, match=r"Bad split: test\. Available splits: .*; set dataset, config and split"):
        read(hub(folder, config="en", split="test"))
    with pytest.raises(UserError, match=r"'de' not found\. Available: \['en'\]"):
        read(hub(folder, config="de"))


@pytest.mark.parametrize("streaming", [True, False])
def test_missing_column_names_what_there_is(numina, streaming):
    message = r"numina' has no column '{}'; it has: problem, solution, source"
    with pytest.raises(UserError, match=message.format("text")):
        read(hub(numina, streaming=streaming))
    with pytest.raises(UserError, match=message.format("lang")):
        read(hub(numina, column="solution", where={"lang": ["Python"]}, streaming=streaming))


def test_where_that_keeps_nothing_shows_values(numina):
    with pytest.raises(UserError, match=r"no row of split 'train' matches .*; source has \['amc_aime', 'cn_k12', "):
        read(hub(numina, column="solution", where={"source": ["cn-k12"]}))


def test_column_that_is_not_text(stack):
    with pytest.raises(UserError, match=r"column 'size' holds int, not text"):
        read(hub(stack, column="size"))


LANGUAGES = [f"language-{number:02}" for number in range(30)]


@pytest.fixture
def smol(tmp_path):
    """The Stack Smol's layout: data/LANGUAGE/data.json, 30 languages."""
    for number, language in enumerate(LANGUAGES):
        folder = tmp_path / "smol" / "data" / language
        folder.mkdir(parents=True)
        rows = [{"content": f"{language} {row}", "lang": language, "size": number} for row in range(40)]
        (folder / "data.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "smol"


def languages(documents, count):
    return Counter(document.text.split()[0] for _, document in zip(range(count), documents, strict=False))


@pytest.mark.slow
def test_a_stream_takes_every_file_alike(smol):
    source = hub(smol, column="content", count="lang")
    found = languages(iter_texts(source, 3), 90)
    assert sorted(found) == LANGUAGES
    assert set(found.values()) == {3}
    assert {document.label for document in iter_texts(source, 3)} == set(LANGUAGES)
    assert len(set(read(source, 3))) == len(read(source, 3)) == 30 * 40
    assert read(source, 3) == read(source, 3) != read(source, 4)


def test_more_files_than_are_open_at_once(smol, monkeypatch):
    monkeypatch.setattr("ream.calibration.hub.OPEN_FILES", 7)
    source = hub(smol, column="content")
    found = languages(iter_texts(source, 0), 70)
    assert set(found.values()) == {10}
    assert sorted(read(source)) == sorted(f"{language} {row}" for language in LANGUAGES for row in range(40))


@pytest.mark.parametrize("wanted", [[True], ["true"], ["True"]])
def test_where_on_booleans(tmp_path, wanted):
    rows = [{"text": f"t{i}", "good": i % 2 == 0, "score": i / 2} for i in range(6)]
    (tmp_path / "flags").mkdir()
    (tmp_path / "flags" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sorted(read(hub(tmp_path / "flags", where={"good": wanted}))) == ["t0", "t2", "t4"]
    assert sorted(read(hub(tmp_path / "flags", where={"good": [False], "score": [0.5, 1.5]}))) == ["t1", "t3"]


def test_offline_says_so():
    with pytest.raises(
        UserError, match=r"dataset 'allenai/c4': Couldn't reach .*; go online \(and unset HF_HUB_OFFLINE\)"
    ):
        read(HubSource(kind="hub", dataset="allenai/c4", config="en"))
    with pytest.raises(UserError, match=r"dataset 'allenai/c4': Couldn't reach"):
        resolved_revision(HubSource(kind="hub", dataset="allenai/c4", config="en"))


def test_folder_without_data(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty'?: .*; set dataset, config and split"):
        read(hub(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub."),
            r"is a gated dataset on the Hub; check its name .* accept its terms on "
            r"https://huggingface\.co/datasets/a/b and run `hf auth login`$",
        ),
        (HTTPError("timed\nout"), r"dataset 'a/b': timed out; go online"),
        (ConnectionError("Couldn't reach 'a/b' on the Hub"), r"Couldn't reach .*; go online"),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), r"found b\.py; set dataset, config"),
    ],
)
def test_errors_of_the_hub_are_one_line(monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(datasets, "load_dataset_builder", fail)
    source = HubSource(kind="hub", dataset="a/b")
    for call in (read, resolved_revision):
        with pytest.raises(UserError, match=message) as raised:
            call(source)
        assert "\n" not in str(raised.value)


def test_connection_lost_while_streaming(monkeypatch):
    class Lost:
        column_names = None
        num_shards = 1

        def shard(self, count, index):
            return self

        def shuffle(self, seed, buffer_size):
            yield {"text": "one"}
            raise HTTPError("peer closed connection")

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: Lost())
    documents = iter_texts(HubSource(kind="hub", dataset="a/b"), 0)
    assert next(documents).text == "one"
    with pytest.raises(UserError, match=r"dataset 'a/b': peer closed connection; go online"):
        next(documents)


def test_resolved_revision(monkeypatch, numina):
    asked = []

    def builder(dataset, config, revision):
        asked.append((dataset, config, revision))
        return SimpleNamespace(hash=SHA)

    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    assert resolved_revision(HubSource(kind="hub", dataset="a/b", config="c", revision="main")) == SHA
    assert resolved_revision(HubSource(kind="hub", dataset="a/b", revision=SHA)) == SHA
    assert asked == [("a/b", "c", "main"), ("a/b", None, SHA)]
    with pytest.raises(UserError, match=f"revision {OTHER} was asked for, but the cache holds {SHA}"):
        resolved_revision(HubSource(kind="hub", dataset="a/b", revision=OTHER))
    assert resolved_revision(hub(numina)) is None
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: SimpleNamespace(hash="0a1b2c3d4e5f6071"))
    assert resolved_revision(HubSource(kind="hub", dataset="a/b")) is None
