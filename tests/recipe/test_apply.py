"""A compressed layer: its experts and router by plain means, what passes through, and which recipes fit a model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.core.experts import parts
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe
from ream.models.expert_weights import read_expert
from ream.models.family.architecture import without_multi_token
from ream.models.storage.shard_writing import tensor_bytes
from ream.recipe.apply import CompressedLayer, compressed_layers
from tests.compress.walks import corrected, opened, random_recipe
from tests.models.families import build
from tests.models.storage.test_checkpoint import refused
from tests.tiny import WIDTH

# Expert 1 stays alone; 4 takes in 0 and 6; 7 takes in 2, 3 and 5.
GROUPS = Groups(np.array([1, 4, 7]), np.array([1, 0, 2, 2, 1, 2, 1, 2]))
WEIGHTS = np.array([0.2, 1.0, 0.1, 0.2, 0.5, 0.3, 0.3, 0.4])


@pytest.fixture(scope="module")
def recipe():
    rng = np.random.default_rng(3)
    permutations = {expert: rng.permutation(WIDTH) for expert in (0, 2, 3, 5, 6)}
    return LayerRecipe(GROUPS, WEIGHTS, rng.random(8), permutations)


def by_hand(checkpoint, architecture, recipe, position, layer=1):
    """(gate, up, down) of a merged expert: sums over its members of weight · permuted projection, in float64."""
    total = [0, 0, 0]
    for member in np.flatnonzero(recipe.groups.group == position):
        expert = read_expert(checkpoint, architecture, layer, int(member))
        order = recipe.permutations.get(int(member), np.arange(WIDTH))
        permuted = expert.gate[order], expert.up[order], expert.down[:, order]
        total = [
            sum_ + float(recipe.weights[member]) * part.double() for sum_, part in zip(total, permuted, strict=True)
        ]
    return total


def test_experts_and_router_by_hand(checkpoint, recipe):
    opened_checkpoint, architecture = opened(checkpoint)
    layer = CompressedLayer(opened_checkpoint, architecture, 1, recipe)
    assert (len(layer), layer.kept) == (3, [1, 4, 7])
    assert [layer.alone(position) for position in range(3)] == [True, False, False]
    for position in range(3):
        expected = by_hand(opened_checkpoint, architecture, recipe, position)
        expert = layer.expert(position)
        for given, value in zip((expert.gate, expert.up, expert.down), expected, strict=True):
            torch.testing.assert_close(given.double(), value, rtol=1e-6, atol=1e-7)
        assert layer.expert(position) is expert
    (kind,) = architecture.family.router
    assert torch.equal(layer.router(kind), opened_checkpoint.read("model.layers.1.mlp.gate.weight")[[1, 4, 7]])


def test_what_passes_through_is_the_originals_bytes(checkpoint, recipe):
    opened_checkpoint, architecture = opened(checkpoint)
    drawn = corrected(Recipe({1: recipe}, {}), architecture, parts=("down",)).layers[1].corrections[0]
    refitted = replace(recipe, corrections={0: drawn})
    for given, changed_parts in ((recipe, set()), (refitted, {"down"})):
        layer = CompressedLayer(opened_checkpoint, architecture, 1, given)
        for kind in architecture.layout:
            name = f"model.layers.1.mlp.experts.1.{kind.part}_proj.weight"
            assert layer.name(kind, 1) == name
            assert layer.unchanged(kind, 0) is (kind.part not in changed_parts)
            assert (layer.stored_bytes(kind, 0) == opened_checkpoint.raw(name)) is (kind.part not in changed_parts)
            assert not layer.unchanged(kind, 1)
            assert layer.stored_bytes(kind, 1) == tensor_bytes(layer.values(kind, 1)) != opened_checkpoint.raw(name)
        assert layer.alone(0)
    unrefitted = CompressedLayer(opened_checkpoint, architecture, 1, replace(recipe, corrections={1: drawn}))
    assert all(unrefitted.unchanged(kind, 0) for kind in architecture.layout)
    assert torch.equal(layer.expert(0).down, drawn["down"])
    original = dict(parts(read_expert(opened_checkpoint, architecture, 1, 1)))
    assert all(torch.equal(part, original[name]) for name, part in parts(layer.expert(0)) if name != "down")


def test_layers_of_one_checkpoint_share_the_last_expert(checkpoint):
    opened_checkpoint, architecture = opened(checkpoint)
    layers = compressed_layers(opened_checkpoint, architecture, random_recipe(architecture, 3))
    first = layers[0].expert(1)
    assert layers[0].expert(1) is first
    layers[1].expert(1)
    assert layers[0].expert(1) is not first
    assert not torch.equal(layers[1].expert(1).down, first.down)


def test_a_recipe_is_for_all_layers_or_all_but_the_multi_token_ones(tmp_path):
    checkpoint, whole = opened(build("deepseek_v3", tmp_path / "model"))
    complete = random_recipe(whole, 4, groups=whole.router_groups, width=whole.width)
    decoder = [layer for layer in whole.moe_layers if layer < whole.layers]
    assert list(whole.moe_layers) == [*decoder, whole.layers]
    shorter = Recipe({layer: complete.layers[layer] for layer in decoder}, {})
    backwards = Recipe(dict(reversed(complete.layers.items())), {})
    assert list(compressed_layers(checkpoint, whole, complete)) == list(whole.moe_layers)
    assert list(compressed_layers(checkpoint, whole, backwards)) == list(whole.moe_layers)
    assert list(compressed_layers(checkpoint, whole, shorter)) == decoder
    assert list(compressed_layers(checkpoint, without_multi_token(whole), shorter)) == decoder
    for layers in (whole.moe_layers[1:], decoder[:-1], [*whole.moe_layers, whole.layers + 1]):
        wrong = Recipe(dict.fromkeys(layers, complete.layers[decoder[0]]), {})
        refused(lambda wrong=wrong: compressed_layers(checkpoint, whole, wrong), "the recipe is for MoE layers")
    refused(lambda: compressed_layers(checkpoint, without_multi_token(whole), complete), f"has {decoder}")
    two = replace(whole, multi_token=2, moe_layers=(*whole.moe_layers, whole.layers + 1))
    assert list(compressed_layers(checkpoint, two, shorter)) == decoder
    refused(lambda: compressed_layers(checkpoint, two, complete), "the recipe is for MoE layers")
