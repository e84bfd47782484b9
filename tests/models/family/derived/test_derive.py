"""What is derived: the entries of all families that have one, field by field; layouts as published; and refusals."""

import json
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.errors import UserError
from ream.models.family.architecture import architecture_of
from ream.models.family.derived.derive import _assumed, derive
from ream.models.family.derived.proof import prove
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.families import FAMILIES, NotDerivedError, family_of
from ream.models.family.layer_names import beside_experts
from ream.models.family.layout import STACKED, TRANSPOSED
from ream.models.family.multi_token import COUNTED_ON
from ream.models.family.names import shapes_of
from ream.models.family.needed import skeleton
from ream.models.storage.checkpoint import Checkpoint
from tests.models.any_moe import REFUSED, build, configuration
from tests.models.families import TINY
from tests.models.families import build as build_listed

# Fields that say how an entry came to be, or how `placed` says the same as `renamed`.
OWN = {"examples", "derived", "head_name", "placed", "outside", "sparse"}
# Why these have an entry.
NOT_DERIVED = {
    "kimi_k2": "no model code for model_type 'kimi_k2'",  # it runs through DeepSeek-V3's
    "llama4": "does not hand indices to its experts",  # its router scales the experts' inputs
    "llama4_text": "does not hand indices to its experts",
}


@pytest.mark.parametrize("model_type", TINY)
def test_an_entry_is_derived(model_type, tmp_path):
    checkpoint = Checkpoint(build_listed(model_type, tmp_path / model_type))
    if model_type in NOT_DERIVED:
        with pytest.raises(NotDerivableError, match=NOT_DERIVED[model_type]):
            derive(checkpoint.config, shapes_of(checkpoint))
        return
    entry, derived = FAMILIES[model_type], derive(checkpoint.config, shapes_of(checkpoint))
    assert derived.derived
    numbers = entry.numbers(checkpoint.config)
    for name in sorted({field.name for field in fields(entry)} - OWN):
        ours, theirs = getattr(entry, name), getattr(derived, name)
        if name == "experts_keys":  # a config has one of the names, which both know
            ours, theirs = ({key for key in keys if key in numbers} for keys in (ours, theirs))
            assert ours
        if name == "layouts":  # one checkpoint has one of the layouts
            assert set(theirs) <= set(ours), name
            continue
        assert theirs == ours, name
    assert derived.head == entry.head
    assert set(derived.sparse.layers(numbers)) == set(entry.sparse.layers(numbers))
    assert set(derived.sparse.layers(numbers)) == set(TINY[model_type].moe_layers)


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_cannot_be_handled_is_refused_by_name(model_type):
    config = json.loads(configuration(model_type).to_json_string())
    with pytest.raises(NotDerivedError) as caught:
        family_of(config, "somewhere")
    message = str(caught.value)
    assert REFUSED[model_type] in message
    assert f"model_type '{model_type}'" in message
    assert "\n" not in message


def test_a_count_for_each_layer_is_refused_by_its_key():
    config = json.loads(configuration("hunyuan_v1_moe").to_json_string()) | {"num_experts": [8, 4, 8]}
    with pytest.raises(UserError) as caught:
        family_of(config, "somewhere")
    assert "num_experts" in str(caught.value)


def rewritten(folder, change):
    """The checkpoint with its tensors, by name, changed."""
    path = folder / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in change(load_file(path)).items()}, path, {"format": "pt"})
    return folder


def stacked(tensors, transposed):
    """Each layer's experts in two tensors, as Qwen3.5 and Qwen3-VL are published."""
    result, experts = {}, {}
    for name, tensor in tensors.items():
        prefix, inside, rest = name.partition(".experts.")
        if not inside:
            result[name] = tensor
            continue
        number, projection, _ = rest.split(".")
        experts.setdefault(prefix, {}).setdefault(projection, {})[int(number)] = tensor
    for prefix, parts in experts.items():
        gate, up, down = (
            torch.stack([parts[projection][number] for number in sorted(parts[projection])])
            for projection in ("gate_proj", "up_proj", "down_proj")
        )
        both = torch.cat([gate, up], dim=1)
        result[f"{prefix}.experts.gate_up_proj"] = both.mT if transposed else both
        result[f"{prefix}.experts.down_proj"] = down.mT if transposed else down
    return result


def test_experts_published_stacked_that_transformers_writes_one_by_one(tmp_path):
    folder = rewritten(build("mellum", tmp_path / "x"), lambda tensors: stacked(tensors, transposed=False))
    checkpoint = Checkpoint(folder)
    architecture = architecture_of(checkpoint)
    assert architecture.layout == STACKED
    assert prove(checkpoint, architecture).outputs < 1e-5


def test_experts_published_transposed_that_transformers_writes_upright(tmp_path):
    folder = build("qwen3_vl_moe", tmp_path / "x")
    assert architecture_of(Checkpoint(folder)).layout == STACKED

    def turned(tensors):
        return {name: tensor.mT if ".experts." in name else tensor for name, tensor in tensors.items()}

    checkpoint = Checkpoint(rewritten(folder, turned))
    architecture = architecture_of(checkpoint)
    assert architecture.layout == TRANSPOSED
    assert prove(checkpoint, architecture).outputs < 1e-5


def test_without_tensors_what_transformers_would_write_is_derived(tmp_path):
    folder = build("dots1", tmp_path / "x")
    checkpoint = Checkpoint(folder)
    assert derive(checkpoint.config) == derive(checkpoint.config, shapes_of(checkpoint))


def test_a_key_that_config_json_lacks_is_named(tmp_path):
    config = json.loads(configuration("dots1").to_json_string())
    del config["num_experts_per_tok"]
    with pytest.raises(UserError, match="lacks num_experts_per_tok; add it with its value"):
        family_of(config, "somewhere")


def test_a_layers_tensors_are_known_by_transformers_names(tmp_path):
    """Kimi-Linear: renamed blocks, and convolutions that are joined of three tensors on loading."""
    checkpoint = Checkpoint(build("kimi_linear", tmp_path / "x"))
    architecture = architecture_of(checkpoint)
    layers = skeleton(configuration("kimi_linear"), torch.float32).layers
    assert len(layers) == architecture.layers
    for index, layer in enumerate(layers):
        found = beside_experts(architecture, index, checkpoint.logical)
        own = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
        if index in architecture.moe_layers:
            routed = {f"mlp.{name}" for name in ("experts.gate_up_proj", "experts.down_proj")}
            routed |= {"mlp.gate.weight", "mlp.gate.e_score_correction_bias"}
            own = {name: shape for name, shape in own.items() if name not in routed}
        assert found.keys() == own.keys()
        for name, stored in found.items():
            shapes = [checkpoint.shape(part) for part in stored]
            assert (sum(shape[0] for shape in shapes), *shapes[0][1:]) == own[name]
    assert any(len(stored) == 3 for stored in beside_experts(architecture, 0, checkpoint.logical).values())


def test_multi_token_layers_are_known_by_their_names(tmp_path):
    """GLM-4.7-Flash is published with a layer that transformers leaves out."""

    def with_layer(tensors):
        last, extra = "model.layers.2.", "model.layers.3."
        more = {
            extra + name.removeprefix(last): tensor.clone() for name, tensor in tensors.items() if name.startswith(last)
        }
        more |= {extra + name: torch.ones(32) for name in ("enorm.weight", "hnorm.weight", "shared_head.norm.weight")}
        return tensors | more | {extra + "eh_proj.weight": torch.ones(32, 64)}

    folder = build("glm4_moe_lite", tmp_path / "x")
    assert architecture_of(Checkpoint(folder)).family.multi_token is None
    checkpoint = Checkpoint(rewritten(folder, with_layer))
    architecture = architecture_of(checkpoint)
    assert architecture.family.multi_token == COUNTED_ON
    assert (architecture.multi_token, architecture.moe_layers) == (1, (1, 2, 3))
    assert prove(checkpoint, architecture).left_out < 1e-5


def test_a_number_that_differs_by_layer_is_the_largest():
    from transformers.models.dots3_note.configuration_dots3_note import Dots3NoteTextConfig

    config = Dots3NoteTextConfig(num_hidden_layers=4)
    heads = [layer.num_attention_heads for layer in config.per_layer_config]
    assert len(set(heads)) > 1, "transformers refuses to read such a number of the whole model"
    assert _assumed(config, {"hidden_size": config.hidden_size}, 4)["num_attention_heads"] == max(heads)
