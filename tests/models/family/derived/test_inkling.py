"""Inkling as published, with its towers: gate and up projections of shared experts alternate in one tensor on disk."""

import pytest
import torch
from safetensors.torch import load_file

from ream.models.family.derived.proof import prove
from ream.models.family.halves import Half
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.output import write_checkpoint
from tests.compress.walks import decoder_of, opened, random_recipe, sequences
from tests.models.any_moe import build
from tests.models.family.derived.test_any_moe import KEPT, own
from tests.models.family.derived.test_any_moe_merged import same_as_in_memory


@pytest.fixture(scope="module")
def wrapper(tmp_path_factory):
    return build("inkling_mm_model", tmp_path_factory.mktemp("inkling") / "x")


def test_halves_are_what_transformers_loads(wrapper):
    _, architecture = opened(wrapper)
    layer = architecture.moe_layers[0]
    tensors, loaded = load_file(wrapper / "model.safetensors"), own(wrapper).state_dict()
    halves = {name: half for name, half in architecture.family.halves.items() if "shared" in name}
    assert {half.second for half in halves.values()} == {False, True}
    for name, half in halves.items():
        path = next(path for path in loaded if path.endswith(f"layers.{layer}.{name}"))
        assert torch.equal(half.of(tensors[architecture.layer_prefix(layer) + half.stored]), loaded[path])


def test_a_half_of_rows_one_above_the_other_and_alternating():
    whole = torch.arange(12).reshape(2, 6)
    assert Half("x", 1, second=False, alternating=True).of(whole).tolist() == [[0, 2, 4], [6, 8, 10]]
    assert Half("x", 1, second=True, alternating=False).of(whole).tolist() == [[3, 4, 5], [9, 10, 11]]
    assert Half("x", 0, second=True, alternating=False).whole((1, 6)) == (2, 6)


def test_the_text_part_is_merged_and_all_else_stays(wrapper, tmp_path):
    checkpoint, architecture = opened(wrapper)
    assert architecture.family.text == "text_config"
    assert max(prove(checkpoint, architecture).moved, prove(checkpoint, architecture).left_out) < 1e-5
    recipe = random_recipe(architecture, KEPT, groups=architecture.router_groups, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    written = Checkpoint(tmp_path / "out")
    untouched = [name for name in checkpoint.tensors if name not in architecture.roles]
    text = tuple(architecture.family.text_prefixes)
    assert [name for name in untouched if not name.startswith(text)]  # towers
    assert all(checkpoint.raw(name) == written.raw(name) for name in untouched)
    assert written.config["vision_config"] == checkpoint.config["vision_config"]
    same_as_in_memory(wrapper, tmp_path / "out", recipe)


@torch.no_grad()
def test_layers_one_at_a_time_give_what_the_text_model_gives(wrapper):
    decoder, model = decoder_of(wrapper), own(wrapper)
    text = next(module for module in model.modules() if type(module) is type(decoder.skeleton))
    for ids in sequences(2):
        hidden = decoder.embed(torch.tensor([ids]))
        for index in range(decoder.architecture.layers):
            with decoder.layer(index) as layer:
                hidden, x = layer(hidden)
                if x is not None:
                    hidden = layer.leaving(hidden, decoder.block(index)(x))
        wanted = text(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
        torch.testing.assert_close(decoder.behind(hidden), wanted, rtol=1e-3, atol=1e-4)
