"""What the UI is given: keys, and progress in words."""

import pytest

from flows.artifacts import describe, key_of


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
