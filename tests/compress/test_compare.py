"""Errors and final hidden states of compressed models against transformers' own models, each run whole."""

import math

import pytest
import torch

from ream.compress.compare import compare, steps
from ream.models.decoder import Decoder
from ream.recipe.load import load_model
from tests.compress.walks import Quiet, decoder_of, loaded, opened, pieces, random_recipe, sequences

KEPT = (6, 3)


@pytest.fixture(scope="module")
def compared(mixed_depth, tmp_path_factory):
    """What `compare` gives, what it has shown, and the recipes."""
    _, architecture = opened(mixed_depth)
    recipes = {f"to {kept}": random_recipe(architecture, kept, seed=kept) for kept in KEPT}
    errors, shown = walked(mixed_depth, recipes, 1e9, tmp_path_factory.mktemp("compare"))
    return errors, shown, recipes


def walked(folder, recipes, memory, tmp_path):
    """The errors of a walk, and what it shows of each model, behind the final norm."""
    shown, progress, decoder = {}, Quiet(), decoder_of(folder)

    def show(row, states):
        for name, leaving in states.items():
            assert len(shown.setdefault(name, [])) == row
            shown[name].append(decoder.behind(leaving[None])[0])

    with pieces(tmp_path / "pieces") as (data, _, _):
        errors = compare(decoder, data, recipes, show, memory, tmp_path, progress)
        assert progress.done == steps(decoder, data, len(recipes)) == (len(recipes) + 1) * 3 * len(data)
        assert len(data) > 2
    return errors, shown


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
    errors, _ = walked(mixed_depth, recipes, 1e9, tmp_path)
    assert [error.stream for error in errors["all"]] == [0, 0, 0]
    assert [error.block for error in errors["all"]] == [0, None, 0]


def test_with_little_memory_the_streams_lie_in_files_and_nothing_else_changes(compared, mixed_depth, tmp_path):
    expected, shown, recipes = compared
    errors, again = walked(mixed_depth, recipes, 0, tmp_path)
    names = {"block-inputs", "block-outputs", "stream-0", "stream-1", "stream-2"}
    assert {path.stem for path in tmp_path.glob("*.map")} == names
    assert errors == expected
    assert again.keys() == shown.keys()
    for name, states in again.items():
        assert all(torch.equal(one, other) for one, other in zip(states, shown[name], strict=True))


def test_each_layer_is_read_once_for_all_models(mixed_depth, tmp_path, monkeypatch):
    _, architecture = opened(mixed_depth)
    read, layer = [], Decoder.layer
    monkeypatch.setattr(Decoder, "layer", lambda self, index: read.append(index) or layer(self, index))
    walked(mixed_depth, {f"to {kept}": random_recipe(architecture, kept) for kept in KEPT}, 0, tmp_path)
    assert read == [0, 1, 2]
