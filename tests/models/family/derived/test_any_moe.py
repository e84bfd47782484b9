"""Every type without an entry: derived, proved, walked, pruned by frequency, written, and loaded again by transformers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.compress.decide import group_layer
from ream.compress.one_shot import collect
from ream.compress.statistics_file import read_sums
from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.models.family.derived.proof import prove
from ream.models.family.derived.weightless import parsed, whole_class
from ream.models.storage.checkpoint import Checkpoint
from ream.params import load_params
from ream.recipe.output import write_checkpoint
from tests.compress.walks import Quiet, decoder_of, opened, pieces, random_recipe
from tests.models.any_moe import EXPERTS, REFUSED, TOP_K, TYPES, WIDTH, build
from tests.models.storage.test_checkpoint import refused
from tests.tiny import ROOT

KEPT = 6
CLOSE = {"rtol": 1e-3, "atol": 2e-4}
EXACT = 1e-5  # the proof on random weights in float32
SLOW = ("unlimited_ocr",)  # whose towers are large even when they are small
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
EVERY = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in TYPES]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of a type's tiny checkpoint, built once."""
    built = {}

    def folder(model_type):
        if model_type not in built:
            built[model_type] = build(model_type, tmp_path_factory.mktemp("any") / model_type)
        return built[model_type]

    return folder


def own(folder):
    """The whole model as transformers itself loads it."""
    checkpoint = Checkpoint(folder)
    kind = whole_class(parsed(checkpoint.config).config)
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def sliced(model, smaller, kept):
    """Tensors of a model with the kept experts alone, along the axes in which a smaller model differs, by its names."""
    result, other = {}, smaller.state_dict()
    for name, tensor in model.state_dict().items():
        axes = [axis for axis, size in enumerate(tensor.shape) if size != other[name].shape[axis]]
        layer = next((int(word) for word in name.split(".") if word.isdigit()), None)
        result[name] = tensor.index_select(axes[0], torch.from_numpy(kept[layer])) if axes else tensor
    return result


@pytest.mark.parametrize("model_type", EVERY)
def test_derived_proved_pruned_and_loaded_again(tiny, model_type, tmp_path):
    folder = tiny(model_type)
    checkpoint, architecture = opened(folder)
    family = architecture.family
    assert family.derived
    assert (architecture.experts, architecture.top_k) == (EXPERTS, TOP_K)
    proof = prove(checkpoint, architecture)
    assert max(proof.outputs, proof.moved, proof.left_out) < EXACT
    recipe = random_recipe(architecture, KEPT, merge=False, groups=architecture.router_groups, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    compressed, original = own(tmp_path / "out"), own(folder)
    expected = sliced(original, compressed, {index: layer.groups.kept for index, layer in recipe.layers.items()})
    changed = [name for name, tensor in original.state_dict().items() if tensor.shape != expected[name].shape]
    assert len(changed) >= len(architecture.moe_layers) * (2 + len(family.router))
    for name, tensor in compressed.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    before, after = Checkpoint(folder), Checkpoint(tmp_path / "out")
    untouched = [name for name in before.tensors if name not in architecture.roles]
    assert untouched
    assert all(before.raw(name) == after.raw(name) for name in untouched)
