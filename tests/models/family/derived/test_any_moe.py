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
from tests.core.test_expert_tables import by_loops
from tests.models.any_moe import EXPERTS, TOP_K, TYPES, build
from tests.subsets import some_slow
from tests.tiny import ROOT

KEPT = 6
CLOSE = {"rtol": 1e-3, "atol": 2e-4}
EXACT = 1e-5  # the proof on random weights in float32
LARGE = ("dots3_note_text", "unlimited_ocr")  # large even when they are small
WALKED = ("afmoe", "aria", "deepseek_v32", "zaya")  # by default
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
EVERY = some_slow(TYPES, keep=[name for name in TYPES if name not in LARGE])


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


def sliced(model, smaller, recipe):
    """Tensors of a model with the kept experts alone, along the axes in which a smaller model differs, by its names.

    In tables of experts by token id, kept ones stand for the others. Entries beyond the experts' stay.
    """
    result, other = {}, smaller.state_dict()
    for name, tensor in model.state_dict().items():
        axes = [axis for axis, size in enumerate(tensor.shape) if size != other[name].shape[axis]]
        layer = next((int(word) for word in name.split(".") if word.isdigit()), None)
        if name.endswith("tid2eid"):
            groups = recipe.layers[layer].groups
            tensor = torch.tensor(by_loops(tensor.tolist(), groups.kept.tolist(), groups.group.tolist()))
        if axes:
            beyond = range(EXPERTS, tensor.shape[axes[0]])  # entries that stand for no expert
            tensor = tensor.index_select(axes[0], torch.tensor([*recipe.layers[layer].groups.kept, *beyond]))
        result[name] = tensor
    return result


@pytest.mark.parametrize("model_type", EVERY)
def test_derived_proved_pruned_and_loaded_again(tiny, model_type, tmp_path):
    folder = tiny(model_type)
    checkpoint, architecture = opened(folder)
    family = architecture.family
    assert family.derived
    assert (architecture.experts, architecture.top_k) == (EXPERTS, 1 if model_type == "zaya" else TOP_K)
    proof = prove(checkpoint, architecture)
    assert max(proof.outputs, proof.moved, proof.left_out) < EXACT
    recipe = random_recipe(architecture, KEPT, merge=False, groups=architecture.router_groups, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    compressed, original = own(tmp_path / "out"), own(folder)
    expected = sliced(original, compressed, recipe)
    changed = [name for name, tensor in original.state_dict().items() if tensor.shape != expected[name].shape]
    counted = [
        router for layer in architecture.moe_layers for router in architecture.routers(layer) if not router.numbers
    ]
    assert len(changed) >= 2 * len(architecture.moe_layers) + len(counted)
    for name, tensor in compressed.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    before, after = Checkpoint(folder), Checkpoint(tmp_path / "out")
    untouched = [name for name in before.tensors if name not in architecture.roles]
    assert untouched
    assert all(before.raw(name) == after.raw(name) for name in untouched)


class Looped:
    """The sums of a layer, in loops over tokens and experts, from what transformers' model hands its experts module.

    An expert's outputs are the module's own, asked for this expert alone with weight 1.
    """

    def __init__(self, module):
        self.module, self.asked = module, False
        self.count, self.norm_sum, self.weighted_norm_sum = np.zeros((3, EXPERTS))
        self.output_sum = 0.0
        module.register_forward_pre_hook(self.take, with_kwargs=True)

    def take(self, module, given, named):
        if self.asked:  # by this very function
            return
        tensors = [value for value in (*given, *named.values()) if isinstance(value, torch.Tensor)]
        indices = next(value for value in tensors if not value.is_floating_point())
        weights = next(value for value in tensors[1:] if value.is_floating_point() and value.shape == indices.shape)
        self.asked = True
        every = [self.outputs(given, named, tensors[0], indices, weights, expert) for expert in range(EXPERTS)]
        self.asked = False
        outputs = torch.stack(every).double().numpy()
        for token, (selected, factors) in enumerate(zip(indices.tolist(), weights.tolist(), strict=True)):
            for expert, factor in zip(selected, factors, strict=True):
                if expert >= EXPERTS or factor == 0:  # LongCat's identity, Zaya's skipping
                    continue
                norm = np.linalg.norm(outputs[expert, token])
                self.count[expert] += 1
                self.norm_sum[expert] += norm
                self.weighted_norm_sum[expert] += factor * norm
        self.output_sum = self.output_sum + outputs.sum(1)

    def outputs(self, given, named, x, indices, weights, expert):
        only = torch.zeros_like(weights)
        only[:, 0] = 1
        alone = {id(indices): torch.full_like(indices, expert), id(weights): only}
        positional = [alone.get(id(value), value) for value in given]
        output = self.module(*positional, **{name: alone.get(id(value), value) for name, value in named.items()})
        return output.reshape(len(indices), -1)


@pytest.mark.parametrize("model_type", some_slow(TYPES, keep=WALKED))
@torch.no_grad()
def test_statistics_are_the_models_own_and_frequency_keeps_the_most_used(tiny, model_type, tmp_path):
    folder = tiny(model_type)
    _, architecture = opened(folder)
    model, used = speaking(own(folder)), {}
    for path, module in model.named_modules():
        if path.endswith(".experts") and hasattr(module, "down_proj"):
            layer = next(int(word) for word in path.split(".") if word.isdigit())
            used[layer] = Looped(module)
    with pieces(tmp_path) as (data, probes, state):
        collect(decoder_of(folder), data, probes, state, Quiet())
        sums = {index: read_sums(state.folder, index) for index in architecture.moe_layers}
    for ids, mask in zip(data.ids, data.mask, strict=True):
        model(input_ids=ids[mask][None], use_cache=False)
    frequency = load_params(ROOT / "params.yaml").method("frequency")
    for index, layer in sums.items():
        np.testing.assert_array_equal(layer.count, used[index].count)
        for name in ("norm_sum", "weighted_norm_sum", "output_sum"):
            wanted = getattr(used[index], name)
            np.testing.assert_allclose(getattr(layer, name), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
        kept = group_layer(frequency, layer, KEPT, EXPERTS, architecture.router_groups).groups.kept
        size, stay = EXPERTS // architecture.router_groups, KEPT // architecture.router_groups
        for start in range(0, EXPERTS, size):
            members = [j for j in kept if start <= j < start + size]
            left_out = [j for j in range(start, start + size) if j not in kept]
            assert len(members) == stay
            assert min(layer.count[members]) >= max(layer.count[left_out])
