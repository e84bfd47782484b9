"""Errors and final hidden states of compressed models against transformers' own models, each run whole."""

import math

import pytest
import torch

from ream.compress.compare import compare, steps
from ream.recipe.load import load_model
from tests.compress.walks import Quiet, decoder_of, loaded, opened, pieces, random_recipe, sequences

KEPT = (6, 3)


@pytest.fixture(scope="module")
def compared(mixed_depth, tmp_path_factory):
    """What `compare` gives, what it has shown, and the recipes."""
    _, architecture = opened(mixed_depth)
    recipes = {f"to {kept}": random_recipe(architecture, kept, seed=kept) for kept in KEPT}
    shown, progress, decoder = {}, Quiet(), decoder_of(mixed_depth)
    with pieces(tmp_path_factory.mktemp("compare")) as (data, _, _):
        errors = compare(decoder, data, recipes, lambda n, x: shown.setdefault(n, []).append(x), 1e9, progress)
        assert progress.done == steps(decoder, data, len(recipes), 1e9)
        assert len(data) > 2
    return errors, shown, recipes


@torch.no_grad()
def run(model, ids):
    """What leaves every layer [T, H], and what goes into the head, of one sequence through the whole model."""
    leaving = []
    hooks = [
        layer.register_forward_hook(lambda module, given, out: leaving.append(out[0])) for layer in model.model.layers
    ]
    last = model.model(torch.tensor([ids]), use_cache=False).last_hidden_state[0]
    for hook in hooks:
        hook.remove()
    return leaving, last


def relative(pairs):
    """sqrt of the sum of squared differences over the sum of squares, over pairs of (wanted, found)."""
    off = sum(float((one.double() - other.double()).square().sum()) for one, other in pairs)
    return math.sqrt(off / sum(float(one.double().square().sum()) for one, _ in pairs))


def test_states_before_the_head_are_the_models_own(compared, mixed_depth):
    _, shown, recipes = compared
    checkpoint, architecture = opened(mixed_depth)
    device = torch.device("cpu")
    for name, recipe in ((None, None), *recipes.items()):
        model = load_model(checkpoint, architecture, recipe, device, torch.float32)
        assert len(shown[name]) == len(sequences())
        for states, ids in zip(shown[name], sequences(), strict=True):
            torch.testing.assert_close(states, run(model, ids)[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(shown[None][0], shown["to 3"][0], atol=1e-2)


def test_errors_of_the_stream_are_those_of_the_models_own_layers(compared, mixed_depth):
    errors, _, recipes = compared
    checkpoint, architecture = opened(mixed_depth)
    original = loaded(mixed_depth)
    for name, recipe in recipes.items():
        model = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
        both = [(run(original, ids)[0], run(model, ids)[0]) for ids in sequences()]
        assert [error.index for error in errors[name]] == [0, 1, 2]
        for index, error in enumerate(errors[name]):
            expected = relative([(one[index], other[index]) for one, other in both])
            assert error.stream == pytest.approx(expected, rel=1e-3)
            assert error.stream > 0.01


def test_errors_of_a_block_are_on_what_enters_it_in_the_original(compared, mixed_depth):
    errors, _, recipes = compared
    checkpoint, architecture = opened(mixed_depth)
    original = loaded(mixed_depth)
    for name, recipe in recipes.items():
        model = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
        assert errors[name][1].block is None, "a dense layer"
        for index in (0, 2):
            pairs = []

            def answer(block, given, out, pairs=pairs, other=model.model.layers[index].mlp):
                pairs.append((out[0] if isinstance(out, tuple) else out, given[0]))

            hook = original.model.layers[index].mlp.register_forward_hook(answer)
            with torch.no_grad():
                for ids in sequences():
                    original.model(torch.tensor([ids]), use_cache=False)
                hook.remove()
                made = [(out, model.model.layers[index].mlp(given)) for out, given in pairs]
            assert errors[name][index].block == pytest.approx(relative(made), rel=1e-3)


def test_a_recipe_that_keeps_all_experts_changes_nothing(mixed_depth, tmp_path):
    _, architecture = opened(mixed_depth)
    recipes = {"all": random_recipe(architecture, 8)}
    with pieces(tmp_path) as (data, _, _):
        errors = compare(decoder_of(mixed_depth), data, recipes, lambda name, states: None, 1e9, Quiet())
    assert [error.stream for error in errors["all"]] == [0, 0, 0]
    assert [error.block for error in errors["all"]] == [0, None, 0]


def test_with_little_memory_the_original_is_walked_for_each_recipe_and_shown_once(compared, mixed_depth, tmp_path):
    expected, shown, recipes = compared
    again, progress, decoder = {}, Quiet(), decoder_of(mixed_depth)
    with pieces(tmp_path) as (data, _, _):
        errors = compare(decoder, data, recipes, lambda name, x: again.setdefault(name, []).append(x), 0, progress)
        assert progress.done == steps(decoder, data, 2, 0) == 4 * 3 * len(data)
    assert errors == expected
    assert {name: len(states) for name, states in again.items()} == {
        name: len(states) for name, states in shown.items()
    }
    for name, states in again.items():
        assert all(torch.equal(one, other) for one, other in zip(states, shown[name], strict=True))
