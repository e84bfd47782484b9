"""Quantised originals: walked as if dequantised; kept experts byte-identical, merged ones in the same format."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from ream.compress.one_shot import collect
from ream.compress.sequential import compress_sequentially
from ream.compress.statistics_file import read_sums
from ream.errors import UserError
from ream.models.family.family import RouterTensor
from ream.models.storage.checkpoint import Checkpoint
from ream.params import load_params
from ream.recipe.apply import CompressedLayer
from ream.recipe.load import load_model
from ream.recipe.output import write_checkpoint
from tests import quantized
from tests.compress.test_families import logits
from tests.compress.walks import Quiet, decoder_of, opened, pieces, random_recipe
from tests.models.families import build
from tests.subsets import some_slow
from tests.tiny import ROOT, rewrite_config

KEPT = 4


@dataclass(frozen=True)
class Case:
    """A family's tiny model in a quantised format.

    Attributes:
        make: of tests.quantized.
        step: largest distance of two neighbouring values, as a share of a block's largest value; MXFP4's rule also
            takes what is between 6 and 8 scales to 6.
    """

    family: str
    make: object
    step: float


CASES = {
    "fp8-qwen3_moe": Case("qwen3_moe", quantized.fp8_checkpoint, 32 / 448),
    "fp8-deepseek_v3": Case("deepseek_v3", quantized.fp8_checkpoint, 32 / 448),
    "w4a16-kimi_k2": Case("kimi_k2", quantized.w4a16_checkpoint, 1 / 7),
    "w4a16-mixtral": Case("mixtral", quantized.w4a16_checkpoint, 1 / 7),
    "mxfp4-gpt_oss": Case("gpt_oss", quantized.mxfp4_checkpoint, 1 / 2),
}
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")


@pytest.fixture(scope="module", params=some_slow(CASES, keep=["fp8-qwen3_moe", "w4a16-mixtral", "mxfp4-gpt_oss"]))
def case(request, tmp_path_factory):
    """(case, quantised folder, the same values unquantised)."""
    case, base = CASES[request.param], tmp_path_factory.mktemp(request.param)
    options = {"values": {"hidden_size": 32, "intermediate_size": 32, "head_dim": 16}} if "gpt" in case.family else {}
    build(case.family, base / "plain", **options)
    case.make(base / "plain", base / "quantised")
    return case, base / "quantised", quantized.dequantised_checkpoint(base / "quantised", base / "dequantised")


def recipe_of(architecture, merge=True):
    return random_recipe(architecture, KEPT, merge=merge, groups=architecture.router_groups, width=architecture.width)


def test_reads_as_dequantised(case):
    _, folder, dequantised = case
    (checkpoint, architecture), plain = opened(folder), Checkpoint(dequantised)
    assert set(checkpoint.logical) == set(plain.tensors)
    assert checkpoint.parameters == plain.parameters
    assert sum(map(checkpoint.quantised, checkpoint.logical)) >= len(architecture.moe_layers) * 2
    for name in plain.tensors:
        assert checkpoint.shape(name) == plain.tensors[name].shape
        torch.testing.assert_close(checkpoint.read(name).float(), plain.read(name), rtol=0, atol=0)


def test_statistics_are_those_of_the_dequantised_model(case, tmp_path):
    _, folder, dequantised = case
    sums = []
    for which in (folder, dequantised):
        with pieces(tmp_path / which.name) as (data, probes, state):
            collect(decoder_of(which), data, probes, state, Quiet())
            sums.append([read_sums(state.folder, index) for index in opened(which)[1].moe_layers])
    for ours, theirs in zip(*sums, strict=True):
        for name, value in ours.arrays().items():
            np.testing.assert_array_equal(value, getattr(theirs, name))


@pytest.mark.parametrize("merge", [False, True], ids=["pruned", "merged"])
def test_kept_experts_pass_through_and_merged_ones_are_within_a_step(case, merge, tmp_path):
    case, folder, dequantised = case
    checkpoint, architecture = opened(folder)
    recipe = recipe_of(architecture, merge)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    write_checkpoint(*opened(dequantised), recipe, tmp_path / "plain")
    after, plain = Checkpoint(tmp_path / "out"), Checkpoint(tmp_path / "plain")
    assert (
        json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
        == (checkpoint.config["quantization_config"])
    )
    assert set(after.logical) == set(plain.tensors)
    alone = merged = 0
    for name, role in architecture.roles.items():
        if isinstance(role.kind, RouterTensor):
            continue
        layer = CompressedLayer(checkpoint, architecture, role.layer, recipe.layers[role.layer])
        for position, original in enumerate(layer.kept):
            if role.expert not in (None, original):
                continue
            new = architecture.tensor_name(role.layer, role.kind, None if role.expert is None else position)
            if layer.alone(position):
                alone += 1
                row = None if role.expert is not None else (original, position)
                for suffix, stored in checkpoint.logical[name].items():
                    written = after.raw(new + suffix, row and row[1])
                    assert written == checkpoint.raw(stored, row and row[0])
            else:
                merged += 1
                row = None if role.expert is not None else position
                wanted, found = plain.read(new, row), after.read(new, row)
                assert (found - wanted).abs().max() <= case.step / 2 * wanted.abs().max() * 1.01
                assert torch.equal(found, wanted) is not checkpoint.quantised(name)
    assert alone
    assert (merged > 0) is merge


def test_evaluated_is_what_is_written(case, tmp_path):
    _, folder, _ = case
    checkpoint, architecture = opened(folder)
    recipe = recipe_of(architecture)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    ours = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
    written = load_model(*opened(tmp_path / "out"), None, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(logits(ours), logits(written), rtol=0, atol=0)


def test_unquantised_output(case, tmp_path):
    _, folder, dequantised = case
    checkpoint, architecture = opened(folder)
    recipe = recipe_of(architecture)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out", unquantised=True)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "but for those that were quantised: these are decoded to bfloat16." in card
    assert "recipe.ream OUT --merge-dtype bfloat16\n" in card
    write_checkpoint(*opened(dequantised), recipe, tmp_path / "plain")
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    after, plain = Checkpoint(tmp_path / "out"), Checkpoint(tmp_path / "plain")
    assert set(after.tensors) == set(plain.tensors)
    compared = 0
    for name in plain.tensors:
        found, wanted = after.read(name), plain.read(name)
        compared += found.dtype == torch.bfloat16
        tolerance = {"rtol": 2**-8, "atol": 1e-6} if found.dtype == torch.bfloat16 else {"rtol": 0, "atol": 0}
        torch.testing.assert_close(found.float(), wanted, **tolerance)
    assert compared >= len(architecture.moe_layers) * 2


def test_sequential_goes_on_with_what_will_be_written(case, tmp_path):
    _, folder, _ = case
    checkpoint, architecture = opened(folder)
    method = load_params(ROOT / "params.yaml").method("ream").composition()
    facts = recipe_of(architecture).facts
    with pieces(tmp_path) as (data, probes, state):
        decoder = decoder_of(folder)
        recipe = compress_sequentially(decoder, data, probes, method, KEPT, 8, state, Quiet(), facts)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    after, read = opened(tmp_path / "out")
    index = architecture.moe_layers[0]
    walked = decoder.block(index, CompressedLayer(checkpoint, architecture, index, recipe.layers[index]))
    x = torch.randn(1, 7, architecture.hidden, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(walked(x), decoder_of(tmp_path / "out").block(index)(x), rtol=0, atol=0)
    assert read.experts == KEPT
    assert after.form == checkpoint.form


def test_an_unknown_method_is_refused_before_any_work(case):
    _, folder, _ = case
    text = (folder / "config.json").read_text()
    try:
        rewrite_config(folder, lambda config: config | {"quantization_config": {"quant_method": "awq"}})
        with pytest.raises(UserError, match=r"quant_method awq is not supported.*dequantise"):
            Checkpoint(folder)
    finally:
        (folder / "config.json").write_text(text)
