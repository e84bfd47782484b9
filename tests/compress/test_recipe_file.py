"""Recipes on disk: what is read is what was written; a damaged file is refused."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from ream.compress.recipe_file import load_recipe, save_recipe
from tests.compress.walks import opened, random_recipe
from tests.models.test_checkpoint import refused


@pytest.mark.parametrize("merge", [True, False])
def test_round_trip(mixed_depth, tmp_path, merge):
    recipe = random_recipe(opened(mixed_depth)[1], 3, merge=merge)
    save_recipe(tmp_path / "r", recipe)
    again = load_recipe(tmp_path / "r")
    assert {key: value for key, value in again.facts.items() if key != "format"} == recipe.facts
    assert list(again.layers) == [0, 2]
    for index, layer in recipe.layers.items():
        mine = again.layers[index]
        for left, right in [
            (mine.groups.kept, layer.groups.kept),
            (mine.groups.group, layer.groups.group),
            (mine.weights, layer.weights),
            (mine.saliency, layer.saliency),
        ]:
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)
        assert set(mine.permutations) == set(layer.permutations)
        assert all(np.array_equal(mine.permutations[j], layer.permutations[j]) for j in layer.permutations)
    save_recipe(tmp_path / "s", again)
    assert (tmp_path / "s").read_bytes() == (tmp_path / "r").read_bytes()


def test_damaged_missing_and_foreign_files(mixed_depth, tmp_path):
    save_recipe(tmp_path / "r", random_recipe(opened(mixed_depth)[1], 3))
    whole = (tmp_path / "r").read_bytes()
    for data in (whole[:-10], whole[:50], b"", b"not a recipe"):
        (tmp_path / "r").write_bytes(data)
        refused(lambda: load_recipe(tmp_path / "r"), "recipe", "damaged")
    refused(lambda: load_recipe(tmp_path / "none"), "none", "does not exist")
    save_file({"x": np.zeros(2)}, tmp_path / "x")
    refused(lambda: load_recipe(tmp_path / "x"), "not a recipe of format")


def test_a_full_disk_is_one_line(mixed_depth, tmp_path, monkeypatch):
    import safetensors

    import ream.compress.recipe_file as module

    def full(*args, **kwargs):
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(module, "save_file", full)
    recipe = random_recipe(opened(mixed_depth)[1], 3)
    refused(lambda: save_recipe(tmp_path / "r", recipe), "cannot be written", "No space left on device")
    assert list(tmp_path.iterdir()) == []
