"""What the UI is given: keys, and progress in words."""

import logging

import pytest

from flows import artifacts
from flows.artifacts import describe, failures_logged, key_of
from ream.errors import UserError


@pytest.mark.parametrize(
    ("words", "key"),
    [(("figures", "evaluate@even"), "figures-evaluate-even"), (("File", "results.md_"), "file-results-md")],
)
def test_keys_are_lower_case_letters_digits_and_dashes(words, key):
    assert key_of(*words) == key


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            {"done": 6, "total": 12, "unit": "batch", "eta": 75.2, "layers": 4, "layers_done": 2,
             "tokens_per_second": 12_345},
            "2 of 4 layers, 12,345 tokens/s, 1:15 left",
        ),
        ({"done": 3, "total": 12, "unit": "model", "eta": None}, "3 of 12 models"),
    ],
)  # fmt: skip
def test_progress_in_words(event, words):
    assert describe(event) == words


def test_what_cannot_be_shown_fails_no_stage(monkeypatch, caplog):
    monkeypatch.setattr(artifacts, "get_run_logger", lambda: logging.getLogger("shown"))
    with failures_logged():
        raise UserError("4.json is damaged")
    assert "artifacts can't be shown: 4.json is damaged" in caplog.text
