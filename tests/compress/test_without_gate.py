"""Nemotron-H through the walk: statistics in the experts' own (latent) space, refits, what a recipe may correct."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.compress.one_shot import collect
from ream.compress.sequential import compress_sequentially
from ream.compress.statistics_file import read_sums
from ream.core.recipe import Recipe
from ream.params import load_params
from ream.recipe.load import load_model
from ream.recipe.output import write_checkpoint
from ream.recipe.recipe_file import load_recipe, save_recipe
from tests.compress.walks import Quiet, corrected, decoder_of, opened, pieces, random_recipe, sequences
from tests.models.any_moe import EXPERTS, build
from tests.models.family.derived.test_any_moe import KEPT, own
from tests.models.storage.test_checkpoint import refused
from tests.subsets import some_slow
from tests.tiny import ROOT

BOTH = ["nemotron_h", "nemotron_h (latent)"]
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")


def handed(model, data):
    """What transformers' own experts are given of all real tokens, by layer: inputs [T, E], indices, weights."""
    seen = {}

    def hook(layer):
        return lambda module, given: seen.setdefault(layer, []).append([value.detach() for value in given])

    hooks = [
        module.register_forward_pre_hook(hook(int(path.split(".")[2])))
        for path, module in model.named_modules()
        if path.endswith("mixer.experts")
    ]
    for ids, mask in zip(data.ids, data.mask, strict=True):
        model(input_ids=ids[mask][None], use_cache=False)
    for hook_ in hooks:
        hook_.remove()
    return {layer: [torch.cat(parts) for parts in zip(*calls, strict=True)] for layer, calls in seen.items()}


@pytest.mark.parametrize("name", BOTH)
@torch.no_grad()
def test_statistics_and_probes_are_those_of_the_experts_own_inputs(name, tmp_path):
    folder = build(name, tmp_path / "x")
    _, architecture = opened(folder)
    assert architecture.projections == ("up", "down")
    model = own(folder)
    with pieces(tmp_path, probes=1000) as (data, probes, state):
        collect(decoder_of(folder), data, probes, state, Quiet())
        seen = handed(model, data)
        for index in architecture.moe_layers:
            sums, (x, indices, weights) = read_sums(state.folder, index), seen[index]
            experts = model.get_submodule(f"model.layers.{index}.mixer.experts")
            assert x.shape[1] == architecture.expert_hidden == sums.output_sum.shape[1]
            for j in range(EXPERTS):
                outputs = torch.relu(x @ experts.up_proj[j].T).square() @ experts.down_proj[j].T
                mine, slots = torch.where(indices == j)
                norms = outputs[mine].norm(dim=1)
                assert sums.count[j] == len(mine)
                np.testing.assert_allclose(sums.norm_sum[j], norms.sum(), rtol=1e-4)
                np.testing.assert_allclose(sums.weighted_norm_sum[j], (norms * weights[mine, slots]).sum(), rtol=1e-4)
                np.testing.assert_allclose(sums.output_sum[j], outputs.sum(0), rtol=1e-3, atol=1e-2)
            kept = state.layer(index)["probes"]
            assert sorted(kept[:, 0].tolist()) == pytest.approx(sorted(x[:, 0].tolist()), abs=1e-4)


@pytest.mark.parametrize("name", some_slow(BOTH, keep=["nemotron_h"]))
@pytest.mark.parametrize("method", some_slow(["ream-refit", "neurons-fit", "best"], keep=["ream-refit"]))
def test_refitted_recipes_are_written_and_evaluated_alike(name, method, tmp_path):
    folder = build(name, tmp_path / "x")
    checkpoint, architecture = opened(folder)
    facts, composition = random_recipe(architecture, KEPT, width=architecture.width).facts, method_of(method)
    with pieces(tmp_path, texts=sequences(40)) as (data, probes, state):
        recipe = compress_sequentially(
            decoder_of(folder), data, probes, composition, KEPT, EXPERTS, state, Quiet(), facts
        )
    refits = recipe.facts["refit"].values()
    if method == "best":  # which keeps a layer as it is where held-out text gains nothing
        assert all(len(refit["tried"]) == 3 and refit["left_held_out"] <= 1 for refit in refits)
    else:
        assert all(0 < refit["left"] < 0.9 for refit in refits)
        assert all(layer.corrected for layer in recipe.layers.values())
    save_recipe(tmp_path / "recipe", recipe)
    assert_written_alike(checkpoint, architecture, load_recipe(tmp_path / "recipe"), tmp_path / "out")


@pytest.mark.parametrize("name", BOTH)
def test_corrections_of_up_and_down_are_written_and_those_of_a_gate_refused(name, tmp_path):
    checkpoint, architecture = opened(build(name, tmp_path / "x"))
    plain = random_recipe(architecture, KEPT, groups=2, width=architecture.width)
    inner = replace(architecture, hidden=architecture.expert_hidden)
    recipe = corrected(plain, inner, parts=("down", "up"))
    save_recipe(tmp_path / "recipe", recipe)
    recipe = load_recipe(tmp_path / "recipe")
    assert_written_alike(checkpoint, architecture, recipe, tmp_path / "out")
    written, first = opened(tmp_path / "out")[0], architecture.moe_layers[0]
    for part in ("up", "down"):
        stored = written.read(f"backbone.layers.{first}.mixer.experts.0.{part}_proj.weight")
        assert torch.equal(stored, recipe.layers[first].corrections[0][part])
    gated: Recipe = corrected(plain, inner, parts=("down", "gate", "up"))
    refused(lambda: write_checkpoint(checkpoint, architecture, gated, tmp_path / "no"), "for gate", "up and down")


def method_of(name):
    return load_params(ROOT / "params.yaml").method(name).composition()


@torch.no_grad()
def assert_written_alike(checkpoint, architecture, recipe, out):
    """What transformers loads from the output computes what evaluation computes."""
    write_checkpoint(checkpoint, architecture, recipe, out)
    evaluated = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
    ids = torch.randint(3, 300, (3, 11), generator=torch.Generator().manual_seed(1))
    logits, wanted = (model(input_ids=ids, use_cache=False).logits for model in (evaluated, own(out)))
    torch.testing.assert_close(logits, wanted, rtol=1e-3, atol=2e-4)
