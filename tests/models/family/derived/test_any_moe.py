"""Every type without an entry: derived, proved, walked, pruned by frequency, and loaded again by transformers."""

import numpy as np
import pytest
import torch

from ream.compress.decide import group_layer
from ream.compress.one_shot import collect
from ream.compress.statistics_file import read_sums
from ream.models.family.derived.proof import prove
from ream.models.family.derived.weightless import parsed, whole_class
from ream.models.storage.checkpoint import Checkpoint
from ream.params import load_params
from ream.recipe.output import write_checkpoint
from tests.compress.walks import Quiet, decoder_of, opened, pieces, random_recipe
from tests.models.any_moe import EXPERTS, TOP_K, TYPES, build
from tests.tiny import ROOT

KEPT = 6
CLOSE = {"rtol": 1e-3, "atol": 2e-4}
EXACT = 1e-5  # the proof on random weights in float32
SLOW = ("dots3_note_text", "unlimited_ocr")  # large even when they are small
# Types whose walks differ from each other; the others are like one of them.
UNLIKE = (
    "afmoe", "aria", "deepseek_v32", "glm_moe_dsa", "granitemoehybrid", "jamba", "kimi_linear", "lfm2_moe", "phimoe",
    "qwen3_vl_moe",
)  # fmt: skip
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


def speaking(model):
    """What of a model answers text with text: the model itself, or of several parts the thinker (Qwen3-Omni)."""
    return getattr(model, "thinker", model)


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


def walked(model_type):
    return pytest.param(model_type, marks=() if model_type in UNLIKE else pytest.mark.slow)


@pytest.mark.parametrize("model_type", [walked(model_type) for model_type in TYPES])
@torch.no_grad()
def test_statistics_are_the_models_own_and_frequency_keeps_the_most_used(tiny, model_type, tmp_path):
    folder = tiny(model_type)
    _, architecture = opened(folder)
    model, used = own(folder), {}

    def count(layer):
        def hook(module, given, named):
            indices = next(value for value in (*given, *named.values()) if value.dtype == torch.int64)
            used[layer] = used.get(layer, 0) + torch.bincount(indices.flatten(), minlength=EXPERTS)

        return hook

    model = speaking(model)
    for path, module in model.named_modules():
        if path.endswith(".experts") and hasattr(module, "down_proj"):
            layer = next(int(word) for word in path.split(".") if word.isdigit())
            module.register_forward_pre_hook(count(layer), with_kwargs=True)
    with pieces(tmp_path) as (data, probes, state):
        collect(decoder_of(folder), data, probes, state, Quiet())
        sums = {index: read_sums(state.folder, index) for index in architecture.moe_layers}
    for ids, mask in zip(data.ids, data.mask, strict=True):
        model(input_ids=ids[mask][None], use_cache=False)
    frequency = load_params(ROOT / "params.yaml").method("frequency")
    for index, layer in sums.items():
        np.testing.assert_array_equal(layer.count, used[index].numpy())
        kept = group_layer(frequency, layer, KEPT, EXPERTS, architecture.router_groups).groups.kept
        size, stay = EXPERTS // architecture.router_groups, KEPT // architecture.router_groups
        for start in range(0, EXPERTS, size):
            members = [j for j in kept if start <= j < start + size]
            left_out = [j for j in range(start, start + size) if j not in kept]
            assert len(members) == stay
            assert min(layer.count[members]) >= max(layer.count[left_out])
