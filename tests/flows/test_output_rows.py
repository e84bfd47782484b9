"""Rows about a stage's outputs: the groups of each layer, and sizes on disk."""

from flows.output_rows import rows_of, size
from ream.evaluation.scores import Cell, Scores, write_scores
from ream.recipe.recipe_file import save_recipe
from tests.compress.walks import opened, random_recipe


def test_groups_of_each_layer(mixed_depth, tmp_path):
    _, architecture = opened(mixed_depth)
    recipe, path = random_recipe(architecture, 3), tmp_path / "3.safetensors"
    save_recipe(path, recipe)
    rows = list(rows_of("sequential", path))
    assert [row[""] for row in rows] == ["3 experts, layer 0", "3 experts, layer 2"]
    for row, layer in zip(rows, recipe.layers.values(), strict=True):
        sizes = [list(layer.groups.group).count(position) for position in range(3)]
        assert (row["alone"], row["groups"]) == (sizes.count(1), 3 - sizes.count(1))
        assert (row["largest"], row["removed"]) == (max(sizes), 0)
    assert rows == list(rows_of("sequential", path)) == list(rows_of("alignment", tmp_path))
    save_recipe(path, random_recipe(architecture, 3, merge=False))
    assert {row["removed"] for row in rows_of("sequential", path)} == {5}


def test_sizes(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"345")
    assert (size(tmp_path), size(tmp_path / "a"), size(tmp_path / "none")) == (5, 2, 0)


def test_an_evaluation_has_rows_and_its_answers_have_none(tmp_path):
    cell = Cell(mix="even", method="reap", experts=4, mc=50.0, parameters=9)
    write_scores(tmp_path / "4.json", Scores(cells=[cell], settings={}, versions={}))
    (tmp_path / "4.parquet").write_bytes(b"PAR1\xfc")
    assert [row["MC"] for row in rows_of("evaluate", tmp_path / "4.json")] == [50.0]
    assert list(rows_of("evaluate", tmp_path / "4.parquet")) == []


def test_other_kinds_have_no_rows(tmp_path):
    assert list(rows_of("model", tmp_path)) == []
