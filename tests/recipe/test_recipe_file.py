"""Recipes on disk: what is read is what was written; a damaged file is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors

from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe
from ream.errors import UserError
from ream.recipe.apply import CompressedLayer
from ream.recipe.recipe_file import (
    load_recipe,
    pack_layer,
    read_layer,
    recipe_from_tensors,
    recipe_tensors,
    save_recipe,
    unpack_layer,
)
from tests.compress.walks import corrected, opened, random_recipe
from tests.models.storage.test_checkpoint import refused


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
    formats = "ream-recipe-1, ream-recipe-2, ream-recipe-3, ream-recipe-4 or ream-recipe-5"
    assert refused(lambda: load_recipe(tmp_path / "x")).endswith(f"x is not a recipe of format {formats}")


@pytest.mark.parametrize(("width", "dtype"), [(32767, np.int16), (32768, np.int32)])
def test_permutations_are_stored_in_16_bits_where_they_fit(width, dtype):
    groups = Groups(np.array([0]), np.array([0, 0]))
    order = np.arange(width)[::-1]
    packed = pack_layer(LayerRecipe(groups, np.ones(2) / 2, np.ones(2), {1: order}))
    assert (packed["permutations"].dtype, packed["permutations"].shape) == (dtype, (1, width))
    again = unpack_layer(packed).permutations[1]
    assert again.dtype == np.int64
    assert np.array_equal(again, order)


def test_a_full_disk_is_one_line(mixed_depth, tmp_path, monkeypatch):
    import safetensors

    import ream.recipe.recipe_file as module

    def full(*args, **kwargs):
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(module, "save_file", full)
    recipe = random_recipe(opened(mixed_depth)[1], 3)
    refused(lambda: save_recipe(tmp_path / "r", recipe), "cannot be written", "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("parts", [("down",), ("down", "gate", "up")])
def test_corrections_round_trip(mixed_depth, tmp_path, dtype, parts):
    architecture = opened(mixed_depth)[1]
    recipe = corrected(random_recipe(architecture, 4), architecture, dtype, parts=parts)
    save_recipe(tmp_path / "r", recipe)
    again = load_recipe(tmp_path / "r")
    for index, layer in recipe.layers.items():
        mine = again.layers[index]
        assert list(mine.corrections) == list(layer.corrections) == [0, 2]
        assert (1 in mine.corrections, 2 in mine.corrections) == (False, True)
        assert mine.corrected == set(parts)
        for position, tensors in layer.corrections.items():
            assert set(mine.corrections[position]) == set(parts)
            for part, tensor in tensors.items():
                assert mine.corrections[position][part].dtype == dtype
                assert torch.equal(mine.corrections[position][part], tensor)
        assert np.array_equal(mine.groups.group, layer.groups.group)
        assert all(np.array_equal(mine.permutations[j], layer.permutations[j]) for j in layer.permutations)
    save_recipe(tmp_path / "s", again)
    assert (tmp_path / "s").read_bytes() == (tmp_path / "r").read_bytes()


def test_a_corrected_file_is_plain_safetensors(mixed_depth, tmp_path):
    """Other readers take it, and its data lie at multiples of their size, as safetensors' own writer has them."""
    architecture = opened(mixed_depth)[1]
    recipe = corrected(random_recipe(architecture, 4), architecture, torch.bfloat16)
    save_recipe(tmp_path / "r", recipe)
    read = load_file(tmp_path / "r")
    assert torch.equal(read["layers.2.down.2"], recipe.layers[2].corrections[2]["down"])
    assert np.array_equal(read["layers.0.weights"].numpy(), recipe.layers[0].weights)
    save_tensors(read, tmp_path / "own")
    assert (tmp_path / "r").stat().st_size == pytest.approx((tmp_path / "own").stat().st_size, abs=500)


def test_recipes_without_corrections_are_of_the_older_format(mixed_depth, tmp_path):
    architecture = opened(mixed_depth)[1]
    plain = random_recipe(architecture, 4)
    save_recipe(tmp_path / "plain", plain)
    save_recipe(tmp_path / "corrected", corrected(plain, architecture))
    assert load_recipe(tmp_path / "plain").facts["format"] == "ream-recipe-1"
    assert load_recipe(tmp_path / "corrected").facts["format"] == "ream-recipe-2"
    assert load_recipe(tmp_path / "plain").layers[0].corrections == {}
    save_recipe(tmp_path / "again", corrected(load_recipe(tmp_path / "plain"), architecture))
    assert load_recipe(tmp_path / "again").facts["format"] == "ream-recipe-2"
    save_recipe(tmp_path / "all", corrected(plain, architecture, parts=("down", "gate", "up")))
    assert load_recipe(tmp_path / "all").facts["format"] == "ream-recipe-4"


def test_a_corrected_file_that_is_gone_or_damaged_later_is_one_line(mixed_depth, tmp_path):
    architecture = opened(mixed_depth)[1]
    save_recipe(tmp_path / "r", corrected(random_recipe(architecture, 4), architecture))
    again = load_recipe(tmp_path / "r")
    (tmp_path / "r").write_bytes((tmp_path / "r").read_bytes()[:-10])
    refused(lambda: again.layers[0].corrections[0], "recipe", "damaged")
    refused(lambda: load_recipe(tmp_path / "r"), "recipe", "damaged")
    (tmp_path / "r").unlink()
    refused(lambda: again.layers[0].corrections[0], "recipe", "damaged")


@pytest.mark.parametrize("with_corrections", [False, True])
def test_a_layer_file_round_trip(mixed_depth, tmp_path, with_corrections):
    architecture = opened(mixed_depth)[1]
    recipe = random_recipe(architecture, 4)
    layer = (corrected(recipe, architecture) if with_corrections else recipe).layers[2]
    save_tensors(recipe_tensors(layer), tmp_path / "layer")
    again = read_layer(tmp_path / "layer")
    assert np.array_equal(again.saliency, layer.saliency)
    assert list(again.corrections) == list(layer.corrections)
    for position, parts in layer.corrections.items():
        assert all(torch.equal(again.corrections[position][part], tensor) for part, tensor in parts.items())


def test_the_tokens_routed_to_each_expert_are_kept(mixed_depth, tmp_path):
    recipe = random_recipe(opened(mixed_depth)[1], 3)
    index = next(iter(recipe.layers))
    routed = np.arange(8.0)
    counted = replace(recipe.layers[index], routed_tokens=routed)
    save_recipe(tmp_path / "r", Recipe({**recipe.layers, index: counted}, recipe.facts))
    again = load_recipe(tmp_path / "r")
    assert np.array_equal(again.layers[index].routed_tokens, routed)
    assert [layer.routed_tokens for other, layer in again.layers.items() if other != index] == [None]
    assert np.array_equal(recipe_from_tensors(recipe_tensors(counted)).routed_tokens, routed)


def test_router_rows_round_trip_and_belong_to_their_model(mixed_depth, tmp_path):
    checkpoint, architecture = opened(mixed_depth)
    recipe, rng = random_recipe(architecture, 4), np.random.default_rng(0)
    rows = rng.normal(size=(4, architecture.hidden)).astype(np.float32)

    def with_rows(array):
        return Recipe({**recipe.layers, 2: replace(recipe.layers[2], router=array)}, recipe.facts)

    save_recipe(tmp_path / "r", with_rows(rows))
    again = load_recipe(tmp_path / "r")
    assert again.facts["format"] == "ream-recipe-5"
    assert again.layers[0].router is None
    assert np.array_equal(again.layers[2].router, rows)
    layer, plain = (CompressedLayer(checkpoint, architecture, 2, each.layers[2]) for each in (again, recipe))
    (kind,) = architecture.routers(2)
    assert torch.equal(layer.router(kind), torch.from_numpy(rows))
    assert not torch.equal(plain.router(kind), layer.router(kind))
    with pytest.raises(UserError, match=r"layer 2: its router rows have 5 numbers, and the model's router takes 16"):
        CompressedLayer(checkpoint, architecture, 2, with_rows(rows[:, :5]).layers[2])
    with pytest.raises(UserError, match="has 3 router rows for 4 kept experts"):
        CompressedLayer(checkpoint, architecture, 2, with_rows(rows[:3]).layers[2])
