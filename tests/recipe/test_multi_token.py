"""Which tensors are those of multi-token layers, and when an output goes without them."""

from dataclasses import replace

import pytest

from ream.core.recipe import Recipe
from ream.models.family.architecture import without_multi_token
from ream.recipe.multi_token import drops_multi_token, left_out_tensors, multi_token_tensors
from tests.compress.walks import opened, random_recipe
from tests.models.families import build


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(checkpoint, architecture) of a model with a multi-token layer, whose tensors lie among the decoder's layers."""
    return opened(build("deepseek_v3", tmp_path_factory.mktemp("multi-token") / "model"))


def recipe_of(architecture):
    return random_recipe(architecture, 4, groups=architecture.router_groups)


def test_the_last_layer_of_the_recipe_tells_whether_they_are_dropped(model):
    _, whole = model
    dropped = without_multi_token(whole)
    none = replace(dropped, dropped=0)  # a model that has none
    assert [layer for layer in whole.moe_layers if layer >= whole.layers] == [whole.layers]
    assert not drops_multi_token(whole, recipe_of(whole))
    assert drops_multi_token(whole, recipe_of(dropped))
    assert drops_multi_token(dropped, recipe_of(dropped))
    assert not drops_multi_token(none, recipe_of(none))
    assert not drops_multi_token(none, Recipe({0: recipe_of(none).layers[none.moe_layers[0]]}, {}))


def test_their_tensors_are_those_behind_the_decoders_layers(model):
    checkpoint, whole = model
    names = {name for name in checkpoint.logical if name.startswith(f"model.layers.{whole.layers}.")}
    assert names
    for architecture in (whole, without_multi_token(whole)):
        assert multi_token_tensors(checkpoint, architecture) == names
    assert left_out_tensors(checkpoint, whole, recipe_of(without_multi_token(whole))) == names
    assert left_out_tensors(checkpoint, whole, recipe_of(whole)) == set()


def test_those_that_lie_beside_the_layers_are_among_them(tmp_path):
    checkpoint, architecture = opened(build("qwen3_next", tmp_path / "model"))
    names = {name for name in checkpoint.logical if name.startswith("mtp.")}
    assert {name for name in names if not name.startswith("mtp.layers.")}
    assert multi_token_tensors(checkpoint, architecture) == names


def test_a_family_without_any_has_none(checkpoint):
    assert multi_token_tensors(*opened(checkpoint)) == set()
