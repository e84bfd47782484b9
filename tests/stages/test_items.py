import json

import pytest

from ream.calibration.corpus import write_corpus
from ream.calibration.parts import rank
from ream.calibration.tokenizer import load_encoder
from ream.errors import UserError
from ream.evaluation.suite_checks import OFFLINE
from ream.evaluation.windows import end_token, read_windows
from ream.params import Params, parse_params
from ream.stages.items import write_items

CONFIG = {"model_type": "qwen3_moe", "vocab_size": 300, "max_position_embeddings": 64}


def settings(suite, **model) -> Params:
    return parse_params(
        {
            "model": {"path": "unset", **model},
            "calibration": {"sequences": 1, "tokens": 8},
            "sources": {"math": {"kind": "builtin", "name": "math"}},
            "mixes": {},
            "methods": {},
            "suites": {"small": suite},
            "evaluation": {"suite": "small"},
            "run": {"sources": ["math"], "mixes": [], "one_shot": [], "sequential": [], "experts": [1]},
        }
    )


@pytest.fixture(autouse=True)
def _online(monkeypatch):
    """The suites name data sets of the hub, which this stage does not read."""
    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def original(tokenizer, tmp_path):
    folder = tmp_path / "original"
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "eos_token_id": [256, 7]}))
    return folder


def test_the_suites_own_tasks_and_windows_are_written_the_same_each_time(original, tmp_path):
    suite = {"mc": ["demo_result", "arc_easy"], "loss": ["math", "code"], "loss_sequences": 2, "loss_tokens": 16}
    line = write_items(settings(suite), tmp_path / "a", original)
    write_items(settings(suite), tmp_path / "b", original)
    assert line == "48 items of 1 tasks; 2 windows of 16 tokens of math, code"
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert set(files) == {"demo_result.jsonl", "windows.safetensors"}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    windows = read_windows(tmp_path / "a" / "windows.safetensors")
    assert {name: array.shape for name, array in windows.items()} == {"math": (2, 16), "code": (2, 16)}


def with_bos(folder, token_id=65):
    """Make a folder's tokenizer add a token before every text."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [token_id], "tokens": ["<bos>"]}},
    }
    path.write_text(json.dumps(content))


def test_every_window_begins_as_the_tokenizer_begins_a_text(original, tmp_path):
    suite = {"loss": ["math"], "loss_sequences": 3, "loss_tokens": 16}
    write_items(settings(suite), tmp_path / "plain", original)
    with_bos(original)
    write_items(settings(suite), tmp_path / "bos", original)
    write_items(settings(suite, special_tokens="none"), tmp_path / "none", original)
    plain, bos, none = (
        read_windows(tmp_path / name / "windows.safetensors")["math"] for name in ("plain", "bos", "none")
    )
    assert (none == plain).all()
    assert bos.shape == plain.shape
    assert bos[:, 0].tolist() == [65] * 3
    assert bos[0, 1:].tolist() == plain[0, :15].tolist()  # 15 tokens of text a window


def test_windows_that_the_model_cannot_read_are_refused(original, tmp_path):
    long = {"loss": ["math"], "loss_sequences": 1, "loss_tokens": 65}
    with pytest.raises(UserError, match=r"^suites\.small\.loss_tokens: 65 is more than the model's 64 positions"):
        write_items(settings(long), tmp_path / "out", original)
    with_bos(original, 300)  # beyond the embeddings, though not beyond the tokenizer's own ids
    with pytest.raises(UserError, match=r"the token id 300, but the model has embeddings for 300 \(vocab_size in"):
        write_items(settings({**long, "loss_tokens": 64}), tmp_path / "out", original)
    assert not (tmp_path / "out").exists()


def test_a_suite_of_downloaded_tasks_needs_nothing(original, tmp_path):
    assert "neither" in write_items(settings({"mc": ["arc_easy"]}), tmp_path / "out", original)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_loss_source_is_refused(original, tmp_path):
    with pytest.raises(UserError, match=r"suites.small.loss: source 'maths' is unknown; did you mean 'math'"):
        write_items(settings({"loss": ["maths"]}), tmp_path / "out", original)


@pytest.mark.parametrize("task", ["humaneval", "livecodebench_v6"])
def test_a_task_that_executes_code_is_refused_before_any_evaluation(original, tmp_path, task):
    params = settings({"gen": ["gsm8k", task]})
    with pytest.raises(UserError, match=f"task '{task}' executes code .*allow_code_execution: true"):
        write_items(params, tmp_path / "out", original)
    allowed = params.evaluation.model_copy(update={"allow_code_execution": True})
    write_items(params.model_copy(update={"evaluation": allowed}), tmp_path / "out", original)


@pytest.mark.parametrize(
    ("config", "expected"),
    [({"eos_token_id": 5}, 5), ({"eos_token_id": [7, 8]}, 7), ({"text_config": {"eos_token_id": 9}}, 9), ({}, None)],
)
def test_the_end_token_is_the_configs_first(tmp_path, config, expected):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert end_token(tmp_path) == expected


def with_source(suite, source) -> Params:
    params = settings(suite)
    sources = {"math": {"kind": "builtin", "name": "math"}, "own": source}
    return parse_params(params.model_dump(exclude_unset=True) | {"sources": sources})


def test_own_text_gives_the_windows_that_its_held_out_part_fills(original, tmp_path):
    texts = [f"{number} " + "a text of its own. " * 3 for number in range(40)]
    held_out = [text for text in texts if rank(text) < 0.3]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = {"kind": "files", "paths": [str(tmp_path / "own.jsonl")], "held_out": 0.3}
    suite = {"loss": ["own", "math"], "loss_sequences": 100, "loss_tokens": 16}
    line = write_items(with_source(suite, source), tmp_path / "out", original)
    windows = read_windows(tmp_path / "out" / "windows.safetensors")
    plain = load_encoder(str(original), None, False).plain
    count = sum(len(plain(text)) + 1 for text in held_out) // 16  # each has the end token behind it
    assert 2 < count < 100
    assert line == f"{count} windows of 16 tokens of own, 100 windows of 16 tokens of math"
    stream = windows["own"].ravel().tolist()
    assert len(stream) == 16 * count
    ids, documents = [], []
    for token in stream:
        if token == 256:
            documents.append(ids)
            ids = []
        else:
            ids.append(token)
    assert sorted(documents) == sorted(plain(text) for text in held_out if plain(text) in documents)
    assert len(documents) >= len(held_out) - 1  # the last may be cut


def test_own_tokens_and_too_little_text(original, tmp_path):
    rows = [[number, *range(40)] for number in range(9)]
    write_corpus(tmp_path / "own.parquet", [("a", ids) for ids in rows], {})
    source = {"kind": "tokens", "path": str(tmp_path / "own.parquet"), "held_out": 1}
    suite = {"loss": ["own"], "loss_sequences": 2, "loss_tokens": 32}
    write_items(with_source(suite, source), tmp_path / "out", original)
    (stream,) = (rows.ravel().tolist() for rows in read_windows(tmp_path / "out" / "windows.safetensors").values())
    assert stream == [token for ids in rows for token in ids][:64]
    suite = {"loss": ["own"], "loss_tokens": 64}
    write_corpus(tmp_path / "own.parquet", [("a", ids) for ids in rows[:2]], {})
    with pytest.raises(
        UserError, match=r"'own' fills 1 windows of 64 tokens, but 2 are needed; give it more text, hold"
    ):
        write_items(with_source(suite, source), tmp_path / "few", original)
