"""The refit in the sequential walk against a plain one: the transformers model in memory and dense least squares."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.compress import refit_layer as module
from ream.compress.held_out import held_out_mask
from ream.compress.refit_summary import refit_result
from ream.compress.sequential import compress_sequentially
from ream.compress.streams import streams
from ream.core.recipe import Recipe
from ream.params import Method, load_params
from ream.recipe.output import write_checkpoint
from ream.recipe.recipe_file import load_recipe, save_recipe
from tests import quantized
from tests.compress.walks import (
    Quiet,
    decoder_of,
    experts_of,
    loaded,
    logits,
    moe_inputs,
    opened,
    pieces,
    random_recipe,
    replaced,
    sequences,
)
from tests.core import reference
from tests.subsets import some_slow
from tests.tiny import ROOT, TOP_K

KEPT, HELD = 4, 3  # of seven sequences the fourth is held out
RIDGE = 1e-2


def method(target, name="ream", ridge=RIDGE, sweeps=200, iterations=0):
    given = load_params(ROOT / "params.yaml").method(name).model_dump()
    refit = {"target": target, "ridge": ridge, "sweeps": sweeps, "iterations": iterations}
    return Method(**given | {"sequential": True, "refit": refit})


def walked(folder, composition, tmp_path, progress=None, batch_tokens=30, memory=math.inf):
    facts = random_recipe(opened(folder)[1], KEPT).facts
    with pieces(tmp_path, batch_tokens=batch_tokens, memory=memory) as (data, probes, state):
        walk = compress_sequentially(
            decoder_of(folder), data, probes, composition.composition(), KEPT, 3, state, progress or Quiet(), facts
        )
        save_recipe(tmp_path / "recipe", walk)
        errors = {index: state.layer(index) for index in walk.layers}
    return load_recipe(tmp_path / "recipe"), errors


def features(block, x):
    """f_j(x) of a transformers block in loops, [T, K·D]."""
    gate, up, _ = (tensor.double().tolist() for tensor in experts_of(block))
    _, _, chosen, weights = reference.route(x.double().tolist(), block.gate.weight.detach().double().tolist(), TOP_K)
    matrix = np.zeros((len(x), len(gate), len(gate[0])))
    for t, token in enumerate(x.double().tolist()):
        for j, weight in zip(chosen[t], weights[t], strict=True):
            matrix[t, j] = weight * np.array(reference.hidden(token, gate[j], up[j]))
    return matrix


def dense(matrix, error, ridge=RIDGE):
    """(change [K, H, D], objective) of one lstsq over all experts."""
    tokens, count, width = matrix.shape
    flat = matrix.reshape(tokens, -1)
    rows = np.diag(np.sqrt(ridge * np.repeat((matrix**2).sum(0).mean(1), width)))
    both = np.concatenate([flat, rows]), np.concatenate([error, np.zeros((len(rows), error.shape[1]))])
    change = np.linalg.lstsq(*both, rcond=None)[0]
    return change.reshape(count, width, -1).transpose(0, 2, 1), ((both[1] - both[0] @ change) ** 2).sum()


@torch.no_grad()
def states(model, layer):
    """Hidden states [T, H] that leave a layer, over the real tokens of all sequences."""
    caught = []
    hook = model.model.layers[layer].register_forward_hook(
        lambda module, given, out: caught.append((out[0] if isinstance(out, tuple) else out)[0])
    )
    for ids in sequences():
        model(torch.tensor([ids]), use_cache=False)
    hook.remove()
    return torch.cat(caught).double().numpy()


FITTED = np.concatenate([np.full(len(ids), index != HELD) for index, ids in enumerate(sequences())])


@pytest.mark.parametrize(
    ("target", "name", "direct"),
    some_slow(
        [("layer", "ream", 0), ("layer", "reap", 4096), ("global", "ream", 4096), ("global", "reap", 0)],
        keep=[("layer", "reap", 4096), ("global", "ream", 4096)],
    ),
)
def test_walk_equals_dense_least_squares_layer_by_layer(mixed_depth, tmp_path, monkeypatch, target, name, direct):
    monkeypatch.setattr(module, "DIRECT", direct)
    recipe, errors = walked(mixed_depth, method(target, name), tmp_path)
    assert list(recipe.layers) == [0, 2]
    assert len(recipe.layers[0].permutations) == (4 if name == "ream" else 0)
    original, model = loaded(mixed_depth), loaded(mixed_depth)
    for index, layer in recipe.layers.items():
        block, x = model.model.layers[index].mlp, moe_inputs(model, index, sequences())
        with torch.no_grad():
            wanted = states(original, index) if target == "global" else block(x[None])[0].double().numpy()
            replaced(block, layer)
            error = wanted - (states(model, index) if target == "global" else block(x[None])[0].double().numpy())
        matrix = features(block, x)
        change, objective = dense(matrix[FITTED], error[FITTED])
        left = error - np.einsum("khd,tkd->th", change, matrix)
        found = errors[index]
        for mine, tokens in (("refit.fitted", FITTED), ("refit.held_out", ~FITTED)):
            assert found[mine][0].item() == pytest.approx((error[tokens] ** 2).sum(), rel=1e-4)
            assert found[mine][-1].item() == pytest.approx((left[tokens] ** 2).sum(), rel=2e-2)
        assert found["refit.written"].tolist() == pytest.approx(
            [found["refit.fitted"][-1].item(), found["refit.held_out"][-1].item()], rel=1e-4
        )
        used = np.flatnonzero(np.abs(matrix[FITTED]).sum((0, 2)))
        assert list(layer.corrections) == used.tolist()
        down = torch.stack([
            layer.corrections[position]["down"] if position in layer.corrections else experts_of(block)[2][position]
            for position in range(KEPT)
        ])  # fmt: skip
        mine = (down - experts_of(block)[2]).double().numpy()
        assert np.linalg.norm(mine - change) < 3e-2 * np.linalg.norm(change)
        reached = ((error - np.einsum("khd,tkd->th", mine, matrix))[FITTED] ** 2).sum() + RIDGE * (
            (mine**2).sum((1, 2)) @ (matrix[FITTED] ** 2).sum(0).mean(1)
        )
        assert objective <= reached * (1 + 1e-6) <= objective * (1 + 1e-3)
        block.experts.down_proj = torch.nn.Parameter(down)
    write_checkpoint(*opened(mixed_depth), recipe, tmp_path / "out")
    torch.testing.assert_close(logits(loaded(tmp_path / "out")), logits(model), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("direct", some_slow([0, 4096], keep=[0]))
def test_progress_tells_the_passes_of_every_layer(mixed_depth, tmp_path, monkeypatch, direct):
    """By sweeps: the sums, the errors, one pass a sweep, the measurement and what is written; at once: three."""
    monkeypatch.setattr(module, "DIRECT", direct)
    progress = Quiet()
    _, errors = walked(mixed_depth, method("layer", sweeps=3), tmp_path, progress)
    wanted = []
    for index in errors:
        passes = 3 if direct else 2 + len(errors[index]["refit.fitted"]) - 1 + 2
        wanted += [f"refit of layer {index}, pass {number}" for number in range(1, passes + 1)] + [""]
    assert progress.notes == wanted


def test_facts_tell_what_is_left_of_the_error(mixed_depth, tmp_path):
    recipe, errors = walked(mixed_depth, method("layer"), tmp_path)
    assert set(recipe.facts["refit"]) == {"0", "2"}
    for index, told in recipe.facts["refit"].items():
        fitted, held = errors[int(index)]["refit.fitted"], errors[int(index)]["refit.held_out"]
        assert told["sweeps"] == len(fitted) - 1 == len(held) - 1 >= 1
        assert told["left"] == pytest.approx((fitted[-1] / fitted[0]).item(), abs=1e-4)
        assert told["left_held_out"] == pytest.approx((held[-1] / held[0]).item(), abs=1e-4)
        assert 0 < told["left"] < 1


class Interrupted(Quiet):
    def __init__(self, after):
        super().__init__()
        self.after = after

    def update(self, n):
        super().update(n)
        if self.done > self.after:
            raise KeyboardInterrupt

    skip = Quiet.update


@pytest.mark.parametrize("target", some_slow(["layer", "global"], keep=["global"]))
def test_an_interrupted_walk_ends_alike_and_so_does_one_in_mapped_files(checkpoint, tmp_path, target):
    composition = method(target, sweeps=5)
    walked(checkpoint, composition, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        walked(checkpoint, composition, tmp_path / "broken", Interrupted(10))
    assert (tmp_path / "broken" / "state" / "layer-000.safetensors").exists()
    walked(checkpoint, composition, tmp_path / "broken")
    walked(checkpoint, composition, tmp_path / "mapped", memory=0)
    whole = (tmp_path / "whole" / "recipe").read_bytes()
    assert (tmp_path / "broken" / "recipe").read_bytes() == whole
    assert (tmp_path / "mapped" / "recipe").read_bytes() == whole


@pytest.mark.parametrize("target", some_slow(["layer", "global"], keep=["global"]))
def test_micro_batches_change_rounding_alone(checkpoint, tmp_path, target):
    """One sequence, or five: with the target global a micro-batch then lies in both streams."""
    composition, progress = method(target, sweeps=5), [Quiet(), Quiet()]
    few, many = (
        walked(checkpoint, composition, tmp_path / str(size), told, size)[0]
        for size, told in zip((60, 1), progress, strict=True)
    )
    for index, layer in few.layers.items():
        assert np.array_equal(layer.groups.group, many.layers[index].groups.group)
        for position, parts in layer.corrections.items():
            other = many.layers[index].corrections[position]
            torch.testing.assert_close(parts["down"], other["down"], rtol=1e-3, atol=1e-3)
    for size, told in zip((60, 1), progress, strict=True):
        with pieces(tmp_path / "again", batch_tokens=size) as (data, _, _):
            assert told.done == len(streams(data, composition)) * 3


def test_the_refitted_model_is_nearer_to_the_original(checkpoint, tmp_path):
    """Mean squared distance of the last hidden states, over the sequences fitted to."""
    expected, distance = states(loaded(checkpoint), 2), {}
    for target in ("layer", "global"):
        recipe, _ = walked(checkpoint, method(target), tmp_path / target)
        plain = Recipe({index: replace(layer, corrections={}) for index, layer in recipe.layers.items()}, recipe.facts)
        for name, one in ((target, recipe), (f"{target} without", plain)):
            write_checkpoint(*opened(checkpoint), one, tmp_path / name / "out")
            distance[name] = ((states(loaded(tmp_path / name / "out"), 2) - expected)[FITTED] ** 2).mean()
    assert distance["layer"] < 0.5 * distance["layer without"]
    assert distance["global"] < distance["layer"]


def test_what_is_written_is_judged_and_a_layer_it_makes_worse_keeps_its_weights(checkpoint, tmp_path, monkeypatch):
    plain = load_params(ROOT / "params.yaml").method("ream")
    expected, _ = walked(checkpoint, plain, tmp_path / "plain")
    true = module.refit

    def broken(*given):
        down, report = true(*given)
        return down + 100, report

    monkeypatch.setattr(module, "refit", broken)
    recipe, errors = walked(checkpoint, method("layer"), tmp_path / "broken")
    for index, layer in recipe.layers.items():
        assert not layer.corrections
        assert np.array_equal(layer.saliency, expected.layers[index].saliency)
        assert errors[index]["refit.written"][0] == errors[index]["refit.fitted"][0]
        assert recipe.facts["refit"][str(index)]["left"] == 1.0


@pytest.mark.parametrize("at_a_time", some_slow([3, KEPT], keep=[KEPT]))
def test_all_projections_are_fitted_as_well(checkpoint, tmp_path, monkeypatch, at_a_time):
    """Errors fall further, are what the written layer leaves, and the recipe makes the model that was measured."""
    monkeypatch.setattr(module, "experts_at_a_time", lambda *sizes: at_a_time)
    monkeypatch.setattr("ream.compress.held_out.held_out_mask", lambda count: torch.zeros(count, dtype=torch.bool))
    plain, once = walked(checkpoint, method("layer"), tmp_path / "plain")
    recipe, errors = walked(checkpoint, method("layer", iterations=12), tmp_path / "all")
    assert recipe.facts["format"] == "ream-recipe-4"
    first = min(errors)
    found, before = errors[first], once[first]["refit.fitted"]
    sweeps, rounds = len(before), int(found["refit.rounds"])
    assert torch.equal(found["refit.fitted"][:sweeps], before)
    assert rounds == len(found["refit.fitted"]) - sweeps >= 1
    assert (found["refit.fitted"][sweeps - 1 :].diff() < 0).all()
    assert found["refit.written"].tolist() == pytest.approx([found["refit.fitted"][-1].item(), 0.0], rel=1e-4)
    assert recipe.facts["refit"][str(first)]["rounds"] == rounds
    assert "rounds" not in plain.facts["refit"][str(first)]
    assert {frozenset(layer.corrections[0]) for layer in recipe.layers.values()} == {frozenset(("down", "gate", "up"))}
    original, model = loaded(checkpoint), loaded(checkpoint)
    x = moe_inputs(model, first, sequences())
    wanted = original.model.layers[first].mlp(x[None])[0]
    write_checkpoint(*opened(checkpoint), recipe, tmp_path / "out")
    block = loaded(tmp_path / "out").model.layers[first].mlp
    left = ((wanted - block(x[None])[0]).detach().double().square().sum(1)).numpy()
    assert left.sum() == pytest.approx(found["refit.fitted"][-1].item(), rel=1e-3)


@pytest.mark.slow
def test_a_fit_that_held_out_sequences_do_not_gain_from_leaves_the_refit(checkpoint, tmp_path):
    """Six short sequences are learnt by heart; the seventh says so."""
    plain, once = walked(checkpoint, method("layer"), tmp_path / "plain")
    recipe, errors = walked(checkpoint, method("layer", iterations=10), tmp_path / "all")
    first = min(errors)
    assert int(errors[first]["refit.rounds"]) == 0
    assert torch.equal(errors[first]["refit.fitted"], once[first]["refit.fitted"])
    for position, tensors in plain.layers[first].corrections.items():
        assert torch.equal(recipe.layers[first].corrections[position]["down"], tensors["down"])
        assert set(recipe.layers[first].corrections[position]) == {"down"}


@pytest.mark.slow
def test_a_quantised_original_is_refitted_as_it_will_be_written(checkpoint, tmp_path):
    quantized.fp8_checkpoint(checkpoint, tmp_path / "quantised")
    recipe, errors = walked(tmp_path / "quantised", method("layer"), tmp_path)
    for index, layer in recipe.layers.items():
        assert {parts["down"].dtype for parts in layer.corrections.values()} == {torch.bfloat16}
        written, exact = errors[index]["refit.written"][0], errors[index]["refit.fitted"]
        assert exact[-1] < written < exact[0]
    write_checkpoint(*opened(tmp_path / "quantised"), recipe, tmp_path / "out")
    assert opened(tmp_path / "out")[1].experts == KEPT


def test_methods_without_refit_leave_no_trace(checkpoint, tmp_path):
    recipe, errors = walked(checkpoint, load_params(ROOT / "params.yaml").method("ream"), tmp_path)
    assert "refit" not in recipe.facts
    assert recipe.facts["format"] == "ream-recipe-1"
    assert not any(name.startswith(("refit", "down")) for name in errors[0])


@pytest.mark.parametrize(("count", "held"), [(1, []), (2, [1]), (7, [3]), (16, [8]), (40, [10, 30])])
def test_held_out_sequences_are_spread_evenly(count, held):
    assert held_out_mask(count).nonzero().flatten().tolist() == held


def test_the_result_warns_where_the_text_is_learnt_by_heart():
    def told(*values):
        return refit_result({str(i): {"left": left, "left_held_out": held} for i, (left, held) in enumerate(values)})

    assert refit_result({}) == ""
    assert (
        told((0.2, 0.22), (0.4, 0.42))
        == "; refit leaves 30.0% of the layers' squared error, 32.0% on held-out sequences"
    )
    overfitted = told((0.2, 0.22), (0.2, 0.4), (0.9, 1.1))
    assert overfitted.endswith("warning: it overfits in layers 1, 2: use more sequences or a larger refit.ridge")
    rounds = refit_result({"0": {"left": 0.2, "left_held_out": 0.4, "rounds": 3}})
    assert rounds.endswith("use more sequences or a larger refit.ridge or fewer refit.iterations")
    assert told((0.2, None)).endswith("no sequence was held out")
    assert told((0.2, 0.2), (1.0, 1.0)).endswith(
        "; warning: layers 1 keep their weights, because refitted weights are no better in the dtype that is written"
    )
