"""Every type without an entry: merged, in one go and sequentially, and evaluated, against the same done in memory.

The default suite merges the types that take the least time.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.compress.sequential import compress_sequentially
from ream.params import load_params
from ream.recipe.load import load_model
from ream.recipe.output import write_checkpoint
from tests.compress.walks import Quiet, decoder_of, opened, pieces, random_recipe
from tests.models.any_moe import EXPERTS, TYPES, VOCABULARY, build
from tests.models.family.derived.test_any_moe import KEPT, own, sliced, speaking
from tests.models.storage.test_checkpoint import refused
from tests.subsets import some_slow
from tests.tiny import ROOT

CLOSE = {"rtol": 1e-3, "atol": 2e-4}
FASTEST = ("afmoe", "aria", "granitemoe")
HEADLESS = ("mistral4",)  # transformers has it as the text part of a wrapper alone
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")


@torch.no_grad()
def merged(model, recipe):
    """Merge the experts of transformers' modules by a recipe: weighted means of permuted experts, by plain means."""
    for path, module in speaking(model).named_modules():
        if not path.endswith(".experts") or not hasattr(module, "down_proj"):
            continue
        layer = recipe.layers[next(int(word) for word in path.split(".") if word.isdigit())]
        turned, rows = getattr(module, "is_transposed", False), "gate_up_proj"
        if not hasattr(module, rows):
            rows = "up_proj"
        gate_up, down = (tensor.mT if turned else tensor for tensor in (getattr(module, rows), module.down_proj))
        width, merged_gate_up, merged_down = down.shape[2], gate_up.clone(), down.clone()
        blocks = [width * block for block in range(gate_up.shape[1] // width)]
        for kept, first in enumerate(layer.groups.kept):
            merged_gate_up[first], merged_down[first] = 0, 0
            for j in np.flatnonzero(layer.groups.group == kept):
                order = torch.from_numpy(layer.permutations.get(int(j), np.arange(width)))
                rows_in_order = torch.cat([order + start for start in blocks])
                merged_gate_up[first] += float(layer.weights[j]) * gate_up[j][rows_in_order]
                merged_down[first] += float(layer.weights[j]) * down[j][:, order]
        getattr(module, rows).data = merged_gate_up.mT if turned else merged_gate_up
        module.down_proj.data = merged_down.mT if turned else merged_down
    return model


@torch.no_grad()
def logits(model):
    ids = torch.randint(VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(9))
    return speaking(model)(input_ids=ids, use_cache=False).logits


def same_as_in_memory(folder, out, recipe):
    """Compare what transformers loads from the output with the original merged in memory; returns the former."""
    compressed = own(out)
    expected = sliced(merged(own(folder), recipe), compressed, recipe)
    for name, tensor in compressed.state_dict().items():
        torch.testing.assert_close(
            tensor, expected[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    return compressed


@pytest.mark.parametrize("model_type", some_slow([name for name in TYPES if name not in HEADLESS], keep=FASTEST))
def test_merged_and_evaluated_as_it_is_written(model_type, tmp_path):
    folder = build(model_type, tmp_path / "original")
    checkpoint, architecture = opened(folder)
    recipe = random_recipe(architecture, KEPT, groups=architecture.router_groups, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    compressed = same_as_in_memory(folder, tmp_path / "out", recipe)
    evaluated = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(logits(evaluated), logits(compressed), **CLOSE)
    assert not torch.allclose(logits(own(folder)), logits(compressed), atol=1e-2)


def test_a_text_part_without_a_head_is_not_evaluated(tmp_path):
    checkpoint, architecture = opened(build("mistral4", tmp_path / "x"))
    run = (checkpoint, architecture, None, torch.device("cpu"), torch.float32)
    refused(lambda: load_model(*run), "no language model for model_type 'mistral4'", "wrapper")


@pytest.mark.parametrize("model_type", some_slow(TYPES, keep=FASTEST))
def test_sequential(model_type, tmp_path):
    folder = build(model_type, tmp_path / "original")
    checkpoint, architecture = opened(folder)
    facts = random_recipe(architecture, KEPT, width=architecture.width).facts
    ream = load_params(ROOT / "params.yaml").method("ream").composition()
    with pieces(tmp_path) as (data, probes, state):
        recipe = compress_sequentially(decoder_of(folder), data, probes, ream, KEPT, EXPERTS, state, Quiet(), facts)
    assert sorted(recipe.layers) == list(architecture.moe_layers)
    assert any(layer.permutations for layer in recipe.layers.values())
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    same_as_in_memory(folder, tmp_path / "out", recipe)


@pytest.mark.parametrize("model_type", some_slow(["gemma4_text", "deepseek_v4"], keep=["gemma4_text"]))
def test_refit_where_the_router_needs_more_than_the_experts_inputs(model_type, tmp_path):
    folder = build(model_type, tmp_path / "original")
    checkpoint, architecture = opened(folder)
    facts = random_recipe(architecture, KEPT, width=architecture.width).facts
    refit = load_params(ROOT / "params.yaml").method("reap-refit").composition()
    assert refit.refit is not None
    at_the_layer = replace(refit, refit=replace(refit.refit, target="layer"))
    run = (KEPT, EXPERTS)
    with pieces(tmp_path) as (data, probes, state):
        recipe = compress_sequentially(decoder_of(folder), data, probes, at_the_layer, *run, state, Quiet(), facts)
    # There are more weights than tokens, so what is fitted can be met almost exactly, by the written experts.
    assert all(layer["left"] < 0.01 for layer in recipe.facts["refit"].values())
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    evaluated = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(logits(evaluated), logits(own(tmp_path / "out")), **CLOSE)
