"""By what neurons are chosen: what a layer's output lacks while its groups have all neurons of their members."""

import numpy as np
import pytest
import torch

from ream.compress.neuron_choice import ChoiceTokens, _Pool, choose_neurons
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe
from ream.core.refit.neuron_choice import ridge_of
from ream.core.refit.output_coordinates import output_coordinates
from ream.recipe.apply import CompressedLayer
from tests.compress.walks import decoder_of
from tests.models.families import build

# a shared expert and a correction bias; biases of experts; scaled inputs; plain; a gated shared expert
FAMILIES = ["glm4_moe", "gpt_oss", "llama4", "qwen3_moe", "qwen3_next"]
ROWS, LENGTH = 5, 7


def recipe_of(architecture, group):
    """The layer's recipe with these groups, each led by its first member, of equal weights."""
    group = np.array(group)
    kept = np.array([int(np.flatnonzero(group == position)[0]) for position in range(group.max() + 1)])
    weights = np.array([1 / (group == position).sum() for position in group])
    several = [position for position in range(len(kept)) if (group == position).sum() > 1]
    neurons = {position: np.arange(architecture.width) for position in several}
    return LayerRecipe(Groups(kept, group), weights, np.ones(len(group)), neurons=neurons)


def tokens_of(decoder, block, targets=True, factors=None):
    generator = torch.Generator().manual_seed(3)
    hidden = decoder.architecture.hidden
    inputs = torch.randn(ROWS, LENGTH, block.input_width(hidden), generator=generator)
    fitted = torch.rand(ROWS, LENGTH, generator=generator) < 0.7
    wanted = torch.randn(ROWS, LENGTH, hidden, generator=generator) if targets else None
    return ChoiceTokens(inputs, fitted, lambda: [slice(0, 2), slice(2, 5)], wanted, factors)


def pool_of(decoder, index, recipe):
    weights = CompressedLayer(decoder.checkpoint, decoder.architecture, index, recipe)
    block, original = decoder.block(index, weights), decoder.block(index)
    coordinates = output_coordinates(block.output_map(decoder.architecture.hidden))
    groups = [recipe.groups.members(position) for position in range(len(recipe.groups.kept))]
    return _Pool(block, original.experts, groups, recipe.weights, coordinates), original


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_experts_by_themselves_lack_what_the_original_block_lacks(tmp_path, family):
    """Shared experts, biases, input gates and what stands behind the experts have their part in the output."""
    decoder = decoder_of(build(family, tmp_path / family))
    index, count = decoder.architecture.moe_layers[0], decoder.architecture.experts
    pool, original = pool_of(decoder, index, recipe_of(decoder.architecture, range(count)))
    tokens = tokens_of(decoder, original)
    found = list(pool.stream(tokens, torch.device("cpu")))
    wanted = (tokens.targets - original(tokens.inputs))[tokens.fitted]
    torch.testing.assert_close(
        torch.cat([part.error for part in found]), pool.coordinates.errors(wanted), rtol=1e-4, atol=1e-5
    )


def two_groups(folder):
    decoder = decoder_of(build("qwen3_moe", folder))
    count = decoder.architecture.experts
    return decoder, decoder.architecture.moe_layers[0], recipe_of(decoder.architecture, [0, 0, *range(1, count - 1)])


@torch.no_grad()
def test_tokens_count_by_their_factors(tmp_path):
    decoder, index, recipe = two_groups(tmp_path / "model")
    pool, original = pool_of(decoder, index, recipe)
    plain = list(pool.stream(tokens_of(decoder, original), torch.device("cpu")))
    factors = torch.rand(ROWS, LENGTH, generator=torch.Generator().manual_seed(1)) + 0.5
    tokens = tokens_of(decoder, original, factors=factors)
    own = factors[tokens.fitted][:, None]
    scaled = list(pool.stream(tokens, torch.device("cpu")))
    for name, pick in (("error", lambda part: part.error), ("weights", lambda part: part.routing.weights)):
        before, after = (torch.cat([pick(part) for part in parts]) for parts in (plain, scaled))
        torch.testing.assert_close(after, before * own, msg=name)


def test_the_target_decides_which_neurons_stay(tmp_path):
    """A target that only the second member's neurons can reach: more of them stay than without it."""
    decoder, index, recipe = two_groups(tmp_path / "model")
    pool, original = pool_of(decoder, index, recipe)
    tokens = tokens_of(decoder, original, targets=False)
    width = decoder.architecture.width

    def of_second(targets):
        given = ChoiceTokens(tokens.inputs, tokens.fitted, tokens.parts, targets)
        chosen = choose_neurons(decoder, index, recipe, original.experts, given).neurons
        assert set(chosen) == {0}
        return int((chosen[0] >= width).sum())

    with torch.no_grad():
        x = tokens.inputs.flatten(0, 1)
        weights = torch.zeros(len(x))
        routing = pool.block.route(x)
        rows, slots = (routing.indices == 0).nonzero(as_tuple=True)
        weights[rows] = routing.weights[rows, slots]
        second = original.experts[1]
        hidden = original.unit(x @ second.gate.T, x @ second.up.T)
        wanted = pool.block(tokens.inputs) + 50 * (weights[:, None] * (hidden @ second.down.T)).view_as(tokens.inputs)
    assert of_second(wanted) > of_second(None)


@torch.no_grad()
def test_groups_handled_one_by_one_have_the_same_ridge(tmp_path, monkeypatch):
    """λ is relative to the mean tokens of all groups, not of those whose sums fit into memory together."""
    decoder = decoder_of(build("qwen3_moe", tmp_path / "model"))
    index, count = decoder.architecture.moe_layers[0], decoder.architecture.experts
    recipe = recipe_of(decoder.architecture, [0, 0, 1, 1, 1, *range(2, count - 3)])
    _, original = pool_of(decoder, index, recipe)
    tokens, seen = tokens_of(decoder, original), []

    def ridge(sums, counts):
        seen.append((sums.count, tuple(counts)))
        return ridge_of(sums, counts)

    monkeypatch.setattr("ream.compress.neuron_choice.ridge_of", ridge)
    together = choose_neurons(decoder, index, recipe, original.experts, tokens).neurons
    monkeypatch.setattr("ream.compress.neuron_choice.SOLVER_BYTES", 0.0)
    single = choose_neurons(decoder, index, recipe, original.experts, tokens).neurons
    assert seen[:2] == seen[2:]
    own = tuple(tokens for tokens, _ in seen[:2])
    assert {counts for _, counts in seen} == {own}, "counts of both groups"
    assert own[0] != own[1]
    assert all(np.array_equal(single[position], together[position]) for position in (0, 1))
