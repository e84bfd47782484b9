"""Tokenizers that are JSON and nothing more, or that do not end."""

import json
from functools import partial

import pytest

from ream.calibration import tokenizer_check
from ream.calibration.tokenizer import load_encoder
from ream.calibration.tokenizer_check import check_tokenizer
from ream.machine.bounded import check_bounded
from tests import tiny
from tests.models.storage.test_checkpoint import refused


@pytest.fixture
def content(tmp_path):
    tiny.write_tokenizer(tmp_path)
    return json.loads((tmp_path / "tokenizer.json").read_text())


def test_the_tiny_tokenizer_is_accepted(content, tmp_path):
    check_tokenizer(json.dumps(content), "x")
    assert load_encoder(str(tmp_path), None, False).encode("ab") == [64, 65]


@pytest.mark.parametrize(
    "change",
    [
        {"model": 3},
        {"model": {}},
        {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {}, "merges": []}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},
        {"added_tokens": [3]},
    ],
)
def test_what_the_library_refuses_is_one_line(change, content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | change))
    refused(lambda: load_encoder(str(tmp_path), None, False), "tokenizer.json cannot be used: ", "fetch it again")


ENDLESS = r"(a|a)*(a|a)*(a|a)*\1b$"


def splitting(content, pattern):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return json.dumps(content | {"pre_tokenizer": split})


def test_a_regular_expression_that_its_library_gives_up(content, tmp_path, monkeypatch):
    """On the probe or, if that does not trigger it, on the text."""
    (tmp_path / "tokenizer.json").write_text(splitting(content, ENDLESS))
    refused(lambda: load_encoder(str(tmp_path), None, False), "tokenizer.json cannot be used: PanicException")
    text = tokenizer_check.PROBE
    monkeypatch.setattr(tokenizer_check, "PROBE", "x")
    encode = load_encoder(str(tmp_path), None, False).encode
    refused(lambda: encode(text), "tokenizer.json cannot be used: ", "Regex", "fetch it again")


def test_a_tokenizer_that_takes_too_long(content, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_check, "check_bounded", partial(check_bounded, seconds=0.2))
    monkeypatch.setattr(tokenizer_check, "PROBE", "ab " * 3_000_000)
    refused(lambda: check_tokenizer(json.dumps(content), "x"), "x takes more than 0.2 s")
