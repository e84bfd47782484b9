"""Refitted down projections in a written checkpoint: in the layout of every family, and in quantised formats."""

import json
from dataclasses import replace

import pytest
import torch
import yaml

from ream.core.experts import parts
from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.models.expert_weights import read_expert
from ream.models.family.expert_tensors import unpack
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.apply import CompressedLayer
from ream.recipe.contents import RECIPE
from ream.recipe.load import load_model
from ream.recipe.output import write_checkpoint
from ream.recipe.recipe_file import load_recipe
from ream.recipe.verify import verify
from tests.compress.test_families import logits, own
from tests.compress.walks import corrected, opened, random_recipe
from tests.models.families import build
from tests.recipe.test_quantised import CASES
from tests.subsets import some_slow
from tests.tiny import files

KEPT, EVERY = 4, 2
LAYOUTS = {
    "qwen3_moe": "one tensor an expert",
    "qwen3_5_moe": "stacked",
    "llama4": "stacked and transposed",
    "gpt_oss": "transposed, gate and up interleaved, with biases",
}
TRANSPOSED = ("llama4", "gpt_oss")
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")


def recipes(architecture, merge, dtype=torch.float32):
    """The same recipe without and with corrections of the kept experts 0 and 2."""
    plain = random_recipe(architecture, KEPT, merge=merge, groups=architecture.router_groups, width=architecture.width)
    return plain, corrected(plain, architecture, dtype, EVERY)


def shares(checkpoint, architecture, name, role):
    """(position, value, stored bytes) of each kept expert's share of a tensor of a written checkpoint."""
    if role.expert is not None:
        return [(role.expert, checkpoint.read(name), stored(checkpoint, name))]
    return [
        (position, checkpoint.read(name, position), stored(checkpoint, name, position))
        for position in range(architecture.experts)
    ]


def stored(checkpoint, name, row=None):
    return {suffix: bytes(checkpoint.raw(part, row)) for suffix, part in checkpoint.logical[name].items()}


@pytest.mark.parametrize("family", some_slow(LAYOUTS, keep=["gpt_oss", "qwen3_moe"]))
def test_gate_and_up_are_corrected_too(family, tmp_path):
    """What is loaded has the corrections of all projections; experts without any are as they were."""
    checkpoint, architecture = opened(build(family, tmp_path / "model"))
    plain, _ = recipes(architecture, True)
    fitted = corrected(plain, architecture, torch.float32, EVERY, parts=("down", "gate", "up"))
    write_checkpoint(checkpoint, architecture, fitted, tmp_path / "out")
    write_checkpoint(checkpoint, architecture, plain, tmp_path / "plain")
    (after, written), (before, _) = opened(tmp_path / "out"), opened(tmp_path / "plain")
    for index, layer in fitted.layers.items():
        for position in range(KEPT):
            one, other = (read_expert(each, written, index, position) for each in (after, before))
            wanted = layer.corrections.get(position, {})
            assert bool(wanted) == (position % EVERY == 0)
            for name, tensor in parts(one):
                assert torch.equal(tensor, wanted[name] if name in wanted else dict(parts(other))[name]), name
    ours = load_model(checkpoint, architecture, fitted, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(logits(ours), logits(own(tmp_path / "out", family)[0]), rtol=1e-4, atol=5e-5)
    assert "fitted further" in (tmp_path / "out" / "README.md").read_text()


def check_written(folder, tmp_path, merge, is_the_correction, dtype):
    """Nothing but the corrected experts' down projections differs from the output without corrections.

    Returns:
        How many of them there are.
    """
    checkpoint, architecture = opened(folder)
    plain, refitted = recipes(architecture, merge, dtype)
    write_checkpoint(checkpoint, architecture, plain, tmp_path / "plain")
    write_checkpoint(checkpoint, architecture, refitted, tmp_path / "out")
    (before, _), (after, written) = opened(tmp_path / "plain"), opened(tmp_path / "out")
    assert before.tensors.keys() == after.tensors.keys()
    assert before.config == after.config
    found = 0
    for name in before.logical:
        role = written.roles.get(name)
        if role is None or getattr(role.kind, "part", None) != "down":
            assert all(before.raw(part) == after.raw(part) for part in before.logical[name].values()), name
            continue
        for old, new in zip(*(shares(each, written, name, role) for each in (before, after)), strict=True):
            corrections = refitted.layers[role.layer].corrections
            if new[0] in corrections:
                is_the_correction(new[1], corrections[new[0]]["down"])
                assert new[2] != old[2]
                found += 1
            else:
                assert new[2] == old[2]
    assert {key: after.headers_of(key).keys() for key in after.logical} == {
        key: before.headers_of(key).keys() for key in before.logical
    }
    return found, architecture, refitted


@pytest.mark.parametrize("merge", [False, True], ids=["pruned", "merged"])
@pytest.mark.parametrize("family", some_slow(LAYOUTS, keep=["gpt_oss", "qwen3_moe"]))
def test_only_the_corrected_down_projections_change(family, merge, tmp_path):
    folder = build(family, tmp_path / "model")

    def is_the_correction(found, wanted):
        assert torch.equal(found.T if family in TRANSPOSED else found, wanted)

    found, architecture, recipe = check_written(folder, tmp_path, merge, is_the_correction, torch.float32)
    assert found == KEPT // EVERY * len(architecture.moe_layers)
    ours = load_model(*opened(folder), recipe, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(logits(ours), logits(own(tmp_path / "out", family)[0]), rtol=1e-4, atol=5e-5)
    plain = logits(own(tmp_path / "plain", family)[0])
    assert not torch.allclose(logits(ours), plain, atol=1e-2)


@pytest.mark.parametrize("name", ["fp8-qwen3_moe", "w4a16-mixtral", "mxfp4-gpt_oss"])
@pytest.mark.parametrize("merge", some_slow([False, True], keep=[False]), ids=["pruned", "merged"])
def test_quantised_originals_have_their_corrections_requantised_and_nothing_else(name, merge, tmp_path):
    case = CASES[name]
    sizes = {"values": {"hidden_size": 32, "intermediate_size": 32, "head_dim": 16}} if "gpt" in case.family else {}
    build(case.family, tmp_path / "model", **sizes)
    case.make(tmp_path / "model", tmp_path / "quantised")

    def is_the_correction(found, wanted):
        wanted = (wanted.T if case.family in TRANSPOSED else wanted).float()
        assert 0 < (found - wanted).abs().max() <= case.step / 2 * wanted.abs().max() * 1.01

    found, architecture, recipe = check_written(
        tmp_path / "quantised", tmp_path, merge, is_the_correction, torch.bfloat16
    )
    assert found == KEPT // EVERY * len(architecture.moe_layers)
    checkpoint, _ = opened(tmp_path / "quantised")
    layer = CompressedLayer(checkpoint, architecture, 0, recipe.layers[0])
    after, written = opened(tmp_path / "out")
    kind = next(kind for kind in architecture.layout if kind.part == "down")
    for position in range(KEPT):
        one = written.tensor_name(0, kind, None if kind.stacked else position)
        down = unpack(kind, after.read(one, position if kind.stacked else None))["down"]
        assert torch.equal(layer.expert(position).down.float(), down.float())  # evaluated is what is written


def test_a_bfloat16_checkpoint_stays_one(brain, tmp_path):
    def is_the_correction(found, wanted):
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, wanted)

    assert check_written(brain, tmp_path, False, is_the_correction, torch.bfloat16)[0] == 6


def test_unquantised_output_takes_corrections_as_they_are(tmp_path):
    build("qwen3_moe", tmp_path / "model")
    CASES["fp8-qwen3_moe"].make(tmp_path / "model", tmp_path / "quantised")
    checkpoint, architecture = opened(tmp_path / "quantised")
    _, recipe = recipes(architecture, False, torch.bfloat16)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out", unquantised=True)
    after, kind = Checkpoint(tmp_path / "out"), next(kind for kind in architecture.layout if kind.part == "down")
    for index, layer in recipe.layers.items():
        for position, corrections in layer.corrections.items():
            assert torch.equal(after.read(architecture.tensor_name(index, kind, position)), corrections["down"])


def test_the_recipe_beside_it_makes_it_again_and_it_verifies(mixed_depth, tmp_path):
    checkpoint, architecture = opened(mixed_depth)
    _, recipe = recipes(architecture, True)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    again = load_recipe(tmp_path / "out" / RECIPE)
    write_checkpoint(checkpoint, architecture, again, tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "out")
    verify(tmp_path / "out")


def test_card_says_what_was_refitted(checkpoint, tmp_path):
    opened_checkpoint, architecture = opened(checkpoint)
    for name, recipe in zip(("plain", "refitted"), recipes(architecture, False), strict=True):
        write_checkpoint(opened_checkpoint, architecture, recipe, tmp_path / name)
    _, header, text = (tmp_path / "refitted" / "README.md").read_text().split("---\n", 2)
    assert "down projections of 6 kept experts were refitted" in text
    assert "goes beyond the paper" in text
    assert yaml.safe_load(header)["base_model"] == "tiny"
    assert "refit" not in (tmp_path / "plain" / "README.md").read_text()
    assert json.loads((tmp_path / "refitted" / "config.json").read_text())["num_experts"] == KEPT


def test_corrections_of_another_model_are_refused(checkpoint):
    opened_checkpoint, architecture = opened(checkpoint)
    recipe = random_recipe(architecture, KEPT)
    wrong = [
        ("down", (7, architecture.width), r"corrections have shape \[7, 8\], but the down projections \[16, 8\]"),
        ("down", (16, 7), "8 neurons"),
        ("gate", (8, 7), r"corrections have shape \[8, 7\], but the gate projections \[8, 16\]"),
        ("up", (7, 16), "8 neurons"),
        ("router", (16, 8), "a correction is for 'router', which is not one of down, gate, up"),
    ]
    for part, shape, message in wrong:
        layers = {0: replace(recipe.layers[0], corrections={1: {part: torch.ones(shape)}})}
        with pytest.raises(UserError, match=message):
            CompressedLayer(opened_checkpoint, architecture, 0, Recipe(layers, {}).layers[0])
