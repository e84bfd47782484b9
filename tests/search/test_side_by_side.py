"""Models that walk side by side against transformers' whole models, one after the other."""

import pytest
import torch

from ream.core.recipe import Recipe
from ream.models.head import Head
from ream.recipe.load import load_model
from ream.search.losses import KL, LOSS, TOKENS, Ruler, by_source, mean_of
from ream.search.mix_recipes import layer_key
from ream.search.side_by_side import Places
from tests.compress.walks import decoder_of, random_recipe, sequences
from tests.subsets import some_slow

ROWS = [*sequences(5, seed=3), [7]]


def ruler_of(folder, tmp_path, memory, with_kl=False):
    decoder = decoder_of(folder)
    return decoder, Ruler(decoder, Head(decoder), 40, Places(memory, tmp_path), with_kl)


@torch.no_grad()
def by_whole_model(decoder, layers, ids):
    """(log-probabilities [T − 1, V], loss) of a sequence by a model that transformers holds in memory, in float64."""
    recipe = None if layers is None else Recipe(layers, {})
    model = load_model(decoder.checkpoint, decoder.architecture, recipe, torch.device("cpu"), torch.float64)
    model.set_experts_implementation("eager")
    logs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return logs, -sum(logs[at, token].item() for at, token in enumerate(ids[1:]))


@pytest.mark.parametrize("memory", some_slow([1e9, 0.0], keep=[0.0]))
def test_losses_and_divergences_are_those_of_whole_models(mixed_depth, tmp_path, memory):
    decoder, ruler = ruler_of(mixed_depth, tmp_path, memory, with_kl=True)
    one, other = (random_recipe(decoder.architecture, 3, seed=seed, digest="").layers for seed in (1, 2))
    late = {**one, 2: other[2]}  # shares the first layers with one
    told = []
    found = ruler.measured([one, other, late, None], ROWS, told.append)
    assert told[0] == "5 models, layer 1 of 3"
    for layers, sums in zip((one, other, late, None), found, strict=True):
        for row, ids in enumerate(ROWS[:2]):
            (logs, loss), (original, _) = by_whole_model(decoder, layers, ids), by_whole_model(decoder, None, ids)
            assert sums[row, LOSS] == pytest.approx(loss, rel=1e-4)
            divergence = (original.exp() * (original - logs)).sum().item()
            assert sums[row, KL] == pytest.approx(divergence, rel=1e-3, abs=1e-6)
            assert sums[row, TOKENS] == len(ids) - 1
        assert sums[-1].tolist() == [0, 0, 0], "a sequence of one token predicts nothing"
    assert found[0][0, KL] > 0.01


def test_a_model_gives_the_same_alone_and_beside_others(mixed_depth, tmp_path):
    decoder, ruler = ruler_of(mixed_depth, tmp_path, 1e9)
    models = [random_recipe(decoder.architecture, 4, seed=seed, digest="").layers for seed in (1, 2, 1)]
    together = ruler.measured(models, ROWS, lambda _: None)
    for model, sums in zip(models, together, strict=True):
        alone = ruler.measured([model], ROWS, lambda _: None)[0]
        assert (alone[:, [LOSS, TOKENS]] == sums[:, [LOSS, TOKENS]]).all()
    assert layer_key(models[0][0]) != layer_key(models[1][0])


def test_equal_models_run_once(mixed_depth, tmp_path, monkeypatch):
    decoder, ruler = ruler_of(mixed_depth, tmp_path, 1e9)
    blocks, block = [], decoder.block
    monkeypatch.setattr(decoder, "block", lambda index, weights=None: blocks.append(index) or block(index, weights))
    one, other = (random_recipe(decoder.architecture, 4, seed=seed, digest="").layers for seed in (1, 2))
    ruler.measured([one, one, {**one, 2: other[2]}, other], ROWS, lambda _: None)
    assert blocks == [0, 0, 2, 2, 2], "two in the first layer of experts, three in the last; the middle one is dense"


def test_sums_are_told_apart_by_source(mixed_depth, tmp_path):
    _, ruler = ruler_of(mixed_depth, tmp_path, 1e9)
    (sums,) = ruler.measured([None], ROWS, lambda _: None)
    parts = by_source(sums, {"one": 2, "other": 4})
    assert [len(part) for part in parts.values()] == [2, 4]
    assert mean_of(parts["one"], LOSS) == pytest.approx(sums[:2, LOSS].sum() / (len(ROWS[0]) + len(ROWS[1]) - 2))
