"""What the UI is given: keys, progress in words, figures of a stage's outputs."""

import pytest

from flows.artifacts import describe, figures, groups, key_of, size
from ream.recipe.recipe_file import save_recipe
from tests.compress.walks import opened, random_recipe


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


def test_groups_of_each_layer(mixed_depth, tmp_path):
    _, architecture = opened(mixed_depth)
    recipe = random_recipe(architecture, 3)
    save_recipe(tmp_path / "3.safetensors", recipe)
    rows = list(groups(tmp_path / "3.safetensors"))
    assert [row[""] for row in rows] == ["3 experts, layer 0", "3 experts, layer 2"]
    for row, layer in zip(rows, recipe.layers.values(), strict=True):
        sizes = [list(layer.groups.group).count(position) for position in range(3)]
        assert (row["alone"], row["groups"]) == (sizes.count(1), 3 - sizes.count(1))
        assert (row["largest"], row["removed"]) == (max(sizes), 0)
    assert list(figures("alignment", tmp_path)) == rows == list(figures("sequential", tmp_path / "3.safetensors"))
    save_recipe(tmp_path / "3.safetensors", random_recipe(architecture, 3, merge=False))
    assert {row["removed"] for row in groups(tmp_path / "3.safetensors")} == {5}


def test_sizes(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"345")
    assert (size(tmp_path), size(tmp_path / "a"), size(tmp_path / "none")) == (5, 2, 0)


def test_other_kinds_have_no_figures(tmp_path):
    assert list(figures("model", tmp_path)) == []
