"""Recipes in memory against those that the stages of the graph write for the same mix."""

import numpy as np
import pytest
import torch

from ream.params import parse_params
from ream.recipe.recipe_file import load_recipe
from ream.search.mix_recipes import Kept, MixRecipes, layer_key
from ream.stages import alignment, grouping, saliency
from ream.workspace.options import StageOptions
from ream.workspace.original import open_original

RATIOS = {"a": 0.3, "b": 0.7}


def of_graph(params, workspace, method):
    """The layers of the recipe of the mix, by the stages."""
    tree = params.model_dump()
    own = parse_params(tree | {"mixes": tree["mixes"] | {"own": RATIOS}})
    options = StageOptions(mix="own", method=method, experts=4)
    for stage in (saliency, grouping, alignment):
        stage.run(own, workspace, options)
    return load_recipe(workspace.recipe("own", method, 4)).layers


def in_memory(params, workspace, method):
    original = open_original(workspace)
    folders = {source: workspace.statistics(source) for source in params.run.sources}
    kept = Kept(4, params.grouping.size_for(4), 1)
    return MixRecipes(
        original.checkpoint, original.architecture, folders, params.method(method).one_shot().composition(), kept,
        params.statistics.probes, torch.device("cpu"),
    )  # fmt: skip


@pytest.mark.parametrize("method", ["reap", "m-smoe", "ream-one-shot"])
def test_a_recipe_in_memory_is_that_of_the_graph(prepared, method):
    params, workspace = prepared
    expected, found = of_graph(params, workspace, method), in_memory(params, workspace, method).of(RATIOS)
    assert found.keys() == expected.keys()
    assert len(found) == 3
    for index, layer in found.items():
        other = expected[index]
        for name in ("kept", "group"):
            assert np.array_equal(getattr(layer.groups, name), getattr(other.groups, name))
        for name in ("weights", "saliency", "routed_tokens"):
            assert np.array_equal(getattr(layer, name), getattr(other, name)), name
        assert layer.permutations.keys() == other.permutations.keys()
        assert all(np.array_equal(layer.permutations[each], other.permutations[each]) for each in layer.permutations)
        assert bool(layer.permutations) == (method != "reap")
        assert layer_key(layer) == layer_key(other)


def test_a_source_without_a_share_changes_nothing(statistics):
    recipes = in_memory(*statistics, "reap")
    assert [layer_key(layer) for layer in recipes.of({"a": 1.0, "b": 0.0}).values()] == [
        layer_key(layer) for layer in recipes.of({"a": 1.0}).values()
    ]


def test_the_key_of_a_layer_tells_models_apart(statistics):
    recipes = in_memory(*statistics, "m-smoe")
    keys = [layer_key(recipes.of({"a": share, "b": 1 - share})[0]) for share in (0.1, 0.9)]
    assert keys[0] != keys[1], "merge weights follow the mix"
