"""The sequential walk against a plain one: the transformers model in memory, replaced layer after layer."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ream.compress.held_out import held_out_mask
from ream.compress.sequential import SequentialCompressor, compress_sequentially
from ream.core.alignment import cost_matrix, neuron_features
from ream.core.assignments import assignment
from ream.core.experts import Expert
from ream.core.grouping import Experts, grouped, merge_weights
from ream.core.known_outputs import OutputStore
from ream.core.projection import projected_neurons
from ream.core.recipe import LayerRecipe, Recipe
from ream.core.routed_outputs import expert_by_expert
from ream.core.saliency import SALIENCIES
from ream.core.similarity import similarity
from ream.core.sums import Sums
from ream.params import Method, load_params
from ream.recipe.output import write_checkpoint
from ream.recipe.recipe_file import load_recipe, save_recipe
from ream.walk.state import WalkState
from tests.compress.walks import (
    Quiet,
    decoder_of,
    experts_of,
    loaded,
    logits,
    loops,
    moe_inputs,
    opened,
    pieces,
    random_recipe,
    replaced,
    sequences,
)
from tests.core import reference
from tests.core.layers import silu_unit
from tests.core.refit.test_neuron_choice import eliminated
from tests.tiny import EXPERTS, ROOT, TOP_K, WIDTH

METHODS = load_params(ROOT / "params.yaml").methods
KEPT, GROUP_SIZE, PROBES, SALIENCY_BATCH = 4, 3, 40, 3


def plainly(model, name, layers):
    """Layer recipes, each decided on the model with its earlier layers compressed; the model ends compressed."""
    released = name == "ream-released"
    decided = {}
    for index in layers:
        block = model.model.layers[index].mlp
        x = moe_inputs(model, index, sequences())
        probes = x[torch.from_numpy(np.random.default_rng(0).permutation(len(x))[:PROBES])]
        sums = Sums(**loops(block, x))
        saliency = SALIENCIES["reap"](sums)
        if released:
            each = [loops(block, moe_inputs(model, index, [ids])) for ids in sequences()]
            saliency = np.array(reference.raised(reference.released_batches(each, SALIENCY_BATCH)))
        alike = similarity(["gate-logits", "gated-output"], sums)
        groups = grouped("pseudo-pruning", Experts(saliency, alike), KEPT, GROUP_SIZE - released)
        gate, up, down = experts_of(block)
        experts = [Expert(gate[j], up[j], down[j]) for j in range(EXPERTS)]
        terms = ["activations", "weights-pca" if released else "weights"]
        projected = projected_neurons(EXPERTS, experts.__getitem__)
        features = [
            neuron_features(experts[j], terms, probes, silu_unit, projected=projected[j]) for j in range(EXPERTS)
        ]
        permutations = {
            j: assignment(cost_matrix(features[c], features[j]))
            for j in range(EXPERTS)
            if (c := int(groups.kept[groups.group[j]])) != j
        }
        decided[index] = LayerRecipe(groups, merge_weights(saliency, groups), saliency, permutations)
        replaced(block, decided[index])
    return decided


def walked(folder, name, tmp_path, batch_tokens=30, memory=math.inf):
    facts = random_recipe(opened(folder)[1], KEPT).facts
    method = METHODS[name].composition()
    with pieces(tmp_path, PROBES, batch_tokens, memory=memory, batch=SALIENCY_BATCH) as (data, probes, state):
        return compress_sequentially(
            decoder_of(folder), data, probes, method, KEPT, GROUP_SIZE, state, Quiet(), facts | {"method": name}
        )


@pytest.mark.parametrize(
    ("name", "which"), [("ream", "checkpoint"), ("ream", "mixed_depth"), ("ream-released", "checkpoint")]
)
def test_recipe_and_checkpoint_equal_a_plain_loop(name, which, request, tmp_path):
    folder = request.getfixturevalue(which)
    recipe = walked(folder, name, tmp_path)
    model = loaded(folder)
    expected = plainly(model, name, recipe.layers)
    for index, layer in expected.items():
        mine = recipe.layers[index]
        assert np.array_equal(mine.groups.kept, layer.groups.kept)
        assert np.array_equal(mine.groups.group, layer.groups.group)
        np.testing.assert_allclose(mine.saliency, layer.saliency, rtol=1e-4)
        np.testing.assert_allclose(mine.weights, layer.weights, rtol=1e-4)
        assert set(mine.permutations) == set(layer.permutations)
        assert all(np.array_equal(mine.permutations[j], layer.permutations[j]) for j in layer.permutations)
        assert len(layer.permutations) == EXPERTS - KEPT
    write_checkpoint(*opened(folder), recipe, tmp_path / "out")
    torch.testing.assert_close(logits(loaded(tmp_path / "out")), logits(model), rtol=1e-5, atol=1e-5)


def group_features(block, x, rows, members, position):
    """g'(x) h(x) of the neurons of a group's experts for tokens [T, H], routed by new rows: [T, m·D]."""
    gate, up, _ = (tensor.double().tolist() for tensor in experts_of(block))
    _, _, chosen, weights = reference.route(x.double().tolist(), rows.double().tolist(), TOP_K)
    matrix = np.zeros((len(x), len(members) * WIDTH))
    for t, token in enumerate(x.double().tolist()):
        if position in chosen[t]:
            hidden = np.concatenate([reference.hidden(token, gate[j], up[j]) for j in members])
            matrix[t] = weights[t][chosen[t].index(position)] * hidden
    return matrix


def choosing(folder, tmp_path):
    """The recipe of a walk that chooses neurons, written and read."""
    composition = Method(
        saliency="frequency", grouping="matching", similarity=["gate-logits"], merging="neurons", sequential=True
    ).composition()
    facts = random_recipe(opened(folder)[1], KEPT).facts | {"method": "choosing"}
    with pieces(tmp_path, PROBES) as (data, probes, state):
        walk = compress_sequentially(decoder_of(folder), data, probes, composition, KEPT, 1, state, Quiet(), facts)
    save_recipe(tmp_path / "recipe", walk)
    return load_recipe(tmp_path / "recipe")


def test_groups_that_do_not_fit_into_memory_together_are_handled_one_by_one(checkpoint, tmp_path, monkeypatch):
    whole = choosing(checkpoint, tmp_path / "whole")
    monkeypatch.setattr("ream.compress.neuron_choice.SOLVER_BYTES", 0.0)
    single = choosing(checkpoint, tmp_path / "single")
    for index, layer in whole.layers.items():
        assert len(layer.neurons) == KEPT
        assert all(np.array_equal(single.layers[index].neurons[place], layer.neurons[place]) for place in range(KEPT))


def test_a_walk_that_chooses_neurons_equals_a_plain_loop(checkpoint, tmp_path):
    recipe, model = choosing(checkpoint, tmp_path), loaded(checkpoint)
    held = held_out_mask(7)
    fitted = torch.cat([torch.full((len(ids),), not out) for ids, out in zip(sequences(), held, strict=True)])
    assert recipe.facts["format"] == "ream-recipe-3"
    for index, layer in recipe.layers.items():
        block = model.model.layers[index].mlp
        x = moe_inputs(model, index, sequences())
        sums = Sums(**loops(block, x))
        groups = grouped("matching", Experts(sums.count, similarity(["gate-logits"], sums)), KEPT, 1)
        assert np.array_equal(layer.groups.group, groups.group)
        assert np.bincount(groups.group).tolist() == [2] * 4
        assert not layer.permutations
        router = block.gate.weight.detach()
        share = sums.count / np.bincount(groups.group, sums.count)[groups.group]
        rows = [sum(float(share[j]) * router[j] for j in groups.members(position)) for position in range(KEPT)]
        for position in range(KEPT):
            members = groups.members(position)
            matrix = group_features(block, x[fitted], torch.stack(rows), members, position)
            down = np.concatenate([experts_of(block)[2][j].double().numpy() for j in members], axis=1)
            assert layer.neurons[position].tolist() == eliminated(matrix, down, WIDTH)
        replaced(block, layer)
    write_checkpoint(*opened(checkpoint), recipe, tmp_path / "out")
    torch.testing.assert_close(logits(loaded(tmp_path / "out")), logits(model), rtol=1e-5, atol=1e-5)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "- expert-merging" in text
    assert "each kept expert consists of the neurons of its group's experts that contribute most" in text
    assert "goes beyond the paper" in text


def test_later_layers_see_the_compressed_ones(checkpoint, tmp_path):
    """Deciding layer 2 on the original's hidden states would give other saliencies."""
    recipe, model = walked(checkpoint, "ream", tmp_path), loaded(checkpoint)
    original = SALIENCIES["reap"](Sums(**loops(model.model.layers[2].mlp, moe_inputs(model, 2, sequences()))))
    assert np.abs(recipe.layers[2].saliency / original - 1).max() > 0.02


def test_micro_batches_change_no_decision(checkpoint, tmp_path):
    few, many = (walked(checkpoint, "ream", tmp_path / str(size), size) for size in (10_000, 1))
    for index, layer in few.layers.items():
        assert np.array_equal(layer.groups.group, many.layers[index].groups.group)
        np.testing.assert_allclose(layer.saliency, many.layers[index].saliency, rtol=1e-4)


def test_state_holds_no_more_than_the_next_layer_needs(checkpoint, tmp_path):
    walked(checkpoint, "ream", tmp_path)
    names = sorted(path.name for path in (tmp_path / "state").iterdir())
    assert names == [*(f"layer-{index:03d}.safetensors" for index in range(3)), "lock", "progress.json"]
    assert set(load_file(tmp_path / "state" / "layer-001.safetensors")) == {
        "kept", "group", "weights", "saliency", "routed_tokens", "absorbed", "permutations"
    }  # fmt: skip


def test_a_recipe_is_what_the_walk_returns(checkpoint, tmp_path):
    recipe = walked(checkpoint, "ream", tmp_path)
    assert isinstance(recipe, Recipe)
    assert (recipe.facts["method"], sorted(recipe.layers)) == ("ream", [0, 1, 2])


@pytest.mark.parametrize("name", ["reap-sequential", "man-sequential"])
def test_outputs_that_were_measured_are_used_again(checkpoint, tmp_path, monkeypatch, name):
    """The recipes and hidden states of a walk that computes all again, with fewer rows through the experts."""
    rows = []

    def counted(x, pairs, *others):
        for part, tokens, outputs in expert_by_expert(x, pairs, *others):
            rows[-1] += len(tokens)
            yield part, tokens, outputs

    monkeypatch.setattr("ream.core.routed_outputs.expert_by_expert", counted)
    states, recipes, commit = [], [], WalkState.commit

    def kept(state, index, result, hidden, last):
        states[-1].append(hidden.clone())
        commit(state, index, result, hidden, last)

    monkeypatch.setattr(WalkState, "commit", kept)
    for most in (0, 1 << 30):
        rows.append(0)
        states.append([])
        monkeypatch.setattr(SequentialCompressor, "_store", OutputStore(most))
        recipes.append(walked(checkpoint, name, tmp_path / str(most)))
    for index, layer in recipes[0].layers.items():
        assert layer.groups.kept.tolist() == recipes[1].layers[index].groups.kept.tolist()
        np.testing.assert_allclose(layer.saliency, recipes[1].layers[index].saliency, rtol=1e-5)
    for plain, again in zip(*states, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-5, atol=1e-6)
    tokens = sum(map(len, sequences()))
    assert rows[0] >= 2 * 3 * tokens * TOP_K, "every token twice: measured, and propagated"
    assert 3 * tokens * TOP_K < rows[1] < 0.85 * rows[0]
