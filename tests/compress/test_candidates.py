"""The choice among candidates in the sequential walk: what is held out, what is compared, and what is written."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.compress import candidates
from ream.compress.held_out import held_out_of
from ream.compress.refit_summary import refit_result
from ream.compress.sequential import compress_sequentially
from ream.core.refit import chosen_ridge
from ream.core.refit.chosen_ridge import RIDGES
from ream.core.sums import Sums
from ream.errors import UserError
from ream.params import Method
from ream.recipe.output import write_checkpoint
from ream.recipe.recipe_file import load_recipe, save_recipe
from tests import quantized
from tests.compress.test_refit import Interrupted
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

KEPT, COUNT = 4, 24
TEXTS = sequences(COUNT)
SOURCES = ["long", "short"] * (COUNT // 2)
REAP, EAN = {"saliency": "reap", "grouping": "pruning"}, {"saliency": "ean", "grouping": "pruning"}
NEURONS = {"saliency": "frequency", "grouping": "matching", "similarity": ["gate-logits"], "merging": "neurons"}


def method(*tried, **refit):
    first, *others = tried or (REAP, EAN, NEURONS)
    refit = {"target": "global", "ridge": "auto", "holdout": 0.25} | refit
    return Method(**first | {"sequential": True, "refit": refit, "candidates": others})


def walked(folder, chosen, tmp_path, progress=None, kept=KEPT, texts=TEXTS, sources=SOURCES, memory=float("inf")):
    facts = random_recipe(opened(folder)[1], kept).facts
    with pieces(tmp_path, texts=texts, batch_tokens=60, memory=memory) as (data, probes, state):
        walk = compress_sequentially(
            decoder_of(folder), data, probes, chosen.composition(), kept, 3, state, progress or Quiet(), facts, None,
            sources,
        )  # fmt: skip
        save_recipe(tmp_path / "recipe", walk)
    return load_recipe(tmp_path / "recipe")


HELD = held_out_of(method().composition(), SOURCES, 0).held.tolist()


def test_each_source_holds_out_its_share_by_the_seed():
    composition = method(holdout=0.25).composition()
    found = held_out_of(composition, SOURCES, 0)
    assert found.sources == 2
    assert found.source.tolist() == [0, 1] * 12
    assert [int((found.held & (found.source == source)).sum()) for source in (0, 1)] == [3, 3]
    assert torch.equal(held_out_of(composition, SOURCES, 0).held, found.held)
    assert not torch.equal(held_out_of(composition, SOURCES, 1).held, found.held)
    assert held_out_of(method(holdout=0.01).composition(), ["a", "a", "b", "b"], 0).held.sum() == 2
    tenth = held_out_of(method(holdout=None).composition(), ["a"] * 40, 0)
    assert tenth.held.sum() == 4  # a tenth where nothing else is said
    assert tenth.rows(slice(10, 30)).held.tolist() == tenth.held[10:30].tolist()


def test_a_source_with_one_sequence_is_refused_before_anything_is_measured(checkpoint, tmp_path):
    with pytest.raises(UserError, match=r"source 'b' has 1 calibration sequence, .* raise calibration\.sequences"):
        walked(checkpoint, method(), tmp_path, texts=TEXTS[:3], sources=["a", "a", "b"])
    assert not list((tmp_path / "state").glob("layer-*"))


def test_held_out_sequences_are_in_no_sum(checkpoint, tmp_path):
    """Saliency and token counts of the first layer are those of loops over the other sequences."""
    recipe = walked(checkpoint, method(REAP), tmp_path)
    block = loaded(checkpoint).model.layers[0].mlp
    kept = [ids for ids, held in zip(TEXTS, HELD, strict=True) if not held]
    sums = Sums(**loops(block, moe_inputs(loaded(checkpoint), 0, kept)))
    np.testing.assert_allclose(recipe.layers[0].saliency, sums.weighted_norm_sum / np.maximum(sums.count, 1), rtol=1e-4)
    assert recipe.layers[0].routed_tokens.tolist() == sums.count.tolist()
    assert len(kept) == COUNT - sum(HELD) == 18


def relative_errors(original, model, index):
    """By source, the squared error of what leaves a layer over the square of what should, over held-out tokens."""
    found = dict.fromkeys(SOURCES, 0.0)
    for ids, held, source in zip(TEXTS, HELD, SOURCES, strict=True):
        if held:
            wanted, given = (
                each.model(torch.tensor([ids]), use_cache=False, output_hidden_states=True).hidden_states[index + 1][0]
                for each in (original, model)
            )
            found[source] += float(((wanted - given).double().square().sum(1) / wanted.double().square().sum(1)).sum())
    return np.array([*found.values()])


@torch.no_grad()
def test_the_candidate_that_leaves_least_on_held_out_text_is_written(checkpoint, tmp_path, monkeypatch):
    """What every candidate leaves in the first layer, each walked by itself, and measured in transformers; one λ."""
    one_ridge(monkeypatch, 0.1)
    original, left = loaded(checkpoint), {}
    plain = walked(checkpoint, method(REAP), tmp_path / "plain")
    model = loaded(checkpoint)
    replaced(model.model.layers[0].mlp, replace(plain.layers[0], corrections={}))
    before = relative_errors(original, model, 0)
    for name, parts in (("reap", REAP), ("ean", EAN), ("matching frequency neurons", NEURONS)):
        # A candidate by itself is compared with its own state before the refit, which changes no choice of λ.
        alone = walked(checkpoint, method(parts), tmp_path / name.split()[-1])
        model = loaded(checkpoint)
        block, layer = model.model.layers[0].mlp, alone.layers[0]
        replaced(block, layer)
        down = experts_of(block)[2].clone()
        for position, corrections in layer.corrections.items():
            down[position] = corrections["down"]
        block.experts.down_proj = torch.nn.Parameter(down)
        left[name] = float(relative_errors(original, model, 0).sum() / before.sum())
    best = walked(checkpoint, method(), tmp_path / "best")
    told = best.facts["refit"]["0"]
    assert told["tried"] == pytest.approx(left, rel=2e-3)
    assert told["candidate"] == min(left, key=left.get)
    assert told["left_held_out"] == pytest.approx(min(left.values()), rel=2e-3)
    assert all(fraction <= 1 for fraction in told["left_by_source"])
    assert 0 < told["left"] < 1
    assert len({*left.values()}) == 3
    write_checkpoint(*opened(checkpoint), best, tmp_path / "out")
    written = loaded(tmp_path / "out")
    again = load_recipe(tmp_path / "best" / "recipe")
    write_checkpoint(*opened(checkpoint), again, tmp_path / "again")
    assert torch.equal(logits(loaded(tmp_path / "again")), logits(written))
    last = max(best.layers)
    by_source = relative_errors(original, written, last)
    assert by_source.sum() < relative_errors(original, _pruned(checkpoint, plain), last).sum()
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"| 0 | {told['candidate']} | {told['left_held_out']:.3f} |" in card


@pytest.mark.slow
def test_only_the_candidate_that_leaves_least_has_a_ridge_of_its_own(checkpoint, tmp_path, monkeypatch):
    """All are compared with the λ that is best for the first; the winner's own leaves no more than that one."""
    text = {"texts": sequences(80), "sources": ["long", "short"] * 40}
    parts = (EAN, REAP, NEURONS)
    best = walked(checkpoint, method(*parts), tmp_path / "best", **text).facts["refit"]["0"]
    plain = walked(checkpoint, method(EAN), tmp_path / "plain", **text).facts["refit"]["0"]
    one_ridge(monkeypatch, plain["ridge"])
    alike = walked(checkpoint, method(*parts), tmp_path / "alike", **text).facts["refit"]["0"]
    assert best["candidate"] == alike["candidate"] == "reap"
    assert best["ridge"] != alike["ridge"] == plain["ridge"]
    assert {**alike["tried"], best["candidate"]: best["left_held_out"]} == best["tried"]
    assert best["left_held_out"] < alike["left_held_out"]


def one_ridge(monkeypatch, ridge):
    """Make λ the only one there is."""
    for module in (candidates, chosen_ridge):
        monkeypatch.setattr(module, "RIDGES", (ridge,))
        monkeypatch.setattr(module, "BEGIN", ridge)


def _pruned(folder, recipe):
    """The model pruned by REAP alone."""
    model = loaded(folder)
    for index, layer in recipe.layers.items():
        replaced(model.model.layers[index].mlp, replace(layer, corrections={}))
    return model


@pytest.mark.slow
def test_a_fit_follows_for_the_candidates_that_leave_least(checkpoint, tmp_path):
    """With enough text, so that a fit helps on what is held out."""
    text = {"texts": sequences(160), "sources": ["long", "short"] * 80}
    refitted = walked(checkpoint, method(), tmp_path / "refit", **text)
    fitted = walked(checkpoint, method(iterations=10), tmp_path / "fit", **text)
    before, after = refitted.facts["refit"]["0"], fitted.facts["refit"]["0"]
    refits = {name: left for name, left in after["tried"].items() if not name.endswith("fitted")}
    assert all(refits[name] <= left for name, left in before["tried"].items()), "two have their own λ instead of one"
    further = {name.removesuffix(" fitted"): left for name, left in after["tried"].items() if name.endswith("fitted")}
    assert further
    assert set(further) <= set(sorted(refits, key=refits.get)[:2])
    assert all(left < refits[name] for name, left in further.items())
    assert after["left_held_out"] == pytest.approx(min(after["tried"].values()), abs=2e-6)
    assert after["left_held_out"] <= before["left_held_out"]
    assert ("rounds" in after) == (min(after["tried"], key=after["tried"].get).endswith("fitted"))


@pytest.mark.slow
def test_an_interrupted_choice_ends_alike_and_so_does_one_in_mapped_files(checkpoint, tmp_path):
    walked(checkpoint, method(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        walked(checkpoint, method(), tmp_path / "broken", Interrupted(14))
    assert (tmp_path / "broken" / "state" / "layer-000.safetensors").exists()
    walked(checkpoint, method(), tmp_path / "broken")
    walked(checkpoint, method(), tmp_path / "mapped", memory=0)
    whole = (tmp_path / "whole" / "recipe").read_bytes()
    assert (tmp_path / "broken" / "recipe").read_bytes() == whole
    assert (tmp_path / "mapped" / "recipe").read_bytes() == whole


def rows_by_numpy(original, written, index):
    """(λ or 0, all rows [N, H]) that numpy's least squares gives a layer's router, by the tokens that are held out."""
    fitted, held = ([ids for ids, out in zip(TEXTS, HELD, strict=True) if out is which] for which in (False, True))
    before = original.model.layers[index].mlp.gate.weight.detach().double().numpy()
    x, wanted, held_x, held_wanted = (
        moe_inputs(model, index, texts).double().numpy() for texts in (fitted, held) for model in (written, original)
    )
    found = {0.0: np.zeros_like(before)}
    for ridge in RIDGES:
        rows = np.sqrt(ridge * (x**2).sum(0).mean()) * np.eye(x.shape[1])
        right = np.concatenate([(wanted - x) @ before.T, np.zeros((len(rows), len(before)))])
        found[ridge] = np.linalg.lstsq(np.concatenate([x, rows]), right, rcond=None)[0].T
    left = {
        ridge: float((((held_wanted - held_x) @ before.T - held_x @ change.T) ** 2).sum())
        for ridge, change in found.items()
    }
    best = min(left, key=left.get)
    return best, before + found[best]


@torch.no_grad()
@pytest.mark.parametrize(
    "parts", [pytest.param(REAP, id="rows"), pytest.param(NEURONS, id="means of rows", marks=pytest.mark.slow)]
)
def test_router_rows_are_fitted_to_the_logits_of_the_original(checkpoint, tmp_path, parts):
    recipe = walked(checkpoint, method(parts, router=True), tmp_path)
    write_checkpoint(*opened(checkpoint), recipe, tmp_path / "out")
    original, written, fitted = loaded(checkpoint), loaded(tmp_path / "out"), 0
    for index, layer in recipe.layers.items():
        ridge, expected = rows_by_numpy(original, written, index)
        assert (layer.router is not None) == (ridge > 0)
        groups = [layer.groups.members(at) if layer.neurons else [kept] for at, kept in enumerate(layer.groups.kept)]
        rows = [sum((layer.weights[j] if layer.neurons else 1.0) * expected[j] for j in members) for members in groups]
        given = written.model.layers[index].mlp.gate.weight.numpy()
        np.testing.assert_allclose(given, np.stack(rows), rtol=1e-3, atol=1e-4)
        if ridge:
            fitted += 1
            assert np.array_equal(given, layer.router)
    assert recipe.layers[0].router is None  # its inputs are those of the original
    assert recipe.facts["format"] == ("ream-recipe-5" if fitted else "ream-recipe-3")
    assert fitted or parts is NEURONS


def test_where_nothing_is_pruned_the_layers_stay_as_they_are(mixed_depth, tmp_path):
    recipe = walked(mixed_depth, method(REAP, EAN), tmp_path, kept=8)
    assert set(recipe.facts["refit"]) == {"0", "2"}
    for index, layer in recipe.layers.items():
        assert not layer.corrections
        assert recipe.facts["refit"][str(index)]["candidate"] == "reap"
        assert recipe.facts["refit"][str(index)]["refitted"] is False


@pytest.mark.slow
@pytest.mark.parametrize("direct", [0, 4096])
def test_a_quantised_original_is_judged_as_it_will_be_written(checkpoint, tmp_path, monkeypatch, direct):
    """With the target layer, and by either solver."""
    monkeypatch.setattr("ream.compress.refit_layer.DIRECT", direct)
    quantized.fp8_checkpoint(checkpoint, tmp_path / "quantised")
    recipe = walked(tmp_path / "quantised", method(target="layer"), tmp_path)
    for index, layer in recipe.layers.items():
        assert {parts["down"].dtype for parts in layer.corrections.values()} == {torch.bfloat16}
        assert recipe.facts["refit"][str(index)]["left_held_out"] < 1
    write_checkpoint(*opened(tmp_path / "quantised"), recipe, tmp_path / "out")
    assert opened(tmp_path / "out")[1].experts == KEPT


def test_the_result_tells_which_candidates_are_chosen():
    layers = {
        str(index): {"candidate": name, "tried": {"reap": 0.5, "ean": 0.4}, "left": 0.2, "left_held_out": held}
        for index, (name, held) in enumerate([("ean", 0.25), ("ean", 0.25), ("reap", 0.9)])
    }
    assert refit_result(layers) == (
        "; of 3 layers chosen: ean in 2, reap in 1; refit leaves 20.0% of the layers' squared error, 46.7% on held-out "
        "sequences; warning: it overfits in layers 2: use more sequences"
    )
