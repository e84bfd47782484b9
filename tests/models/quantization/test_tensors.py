"""Logical tensors of whole checkpoints: named, read and written again, with the values that transformers loads."""

import json
import warnings

import pytest
import torch

from ream.models.quantization.config import format_of
from ream.models.quantization.fp8_block import Fp8Block
from ream.models.quantization.mxfp4 import Mxfp4
from ream.models.quantization.names import logical_names, logical_shape, stored_names
from ream.models.quantization.pack_quantized import PackQuantized
from ream.models.quantization.tensors import read_logical, requantised
from ream.models.storage.checkpoint import Checkpoint
from tests import quantized, tiny
from tests.models.quantization import reference
from tests.models.quantization.helpers import random, refused, same_bytes

EXPERT = "model.layers.1.mlp.experts.3.up_proj.weight"


def gpt_oss(folder):
    """A tiny gpt-oss in bfloat16; MXFP4 needs multiples of 32."""
    from transformers import GptOssConfig, GptOssForCausalLM

    config = GptOssConfig(
        vocab_size=40, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_local_experts=3,
        num_experts_per_tok=2, num_attention_heads=2, num_key_value_heads=1, head_dim=16, pad_token_id=0,
        layer_types=["full_attention", "full_attention"],
    )  # fmt: skip
    model = GptOssForCausalLM(config).to(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder, max_shard_size="20KB")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, brain):
    """Quantised checkpoints by format, and the plain one that each was made of."""
    folder = tmp_path_factory.mktemp("quantised")
    ignore = ["lm_head", quantized.ROUTER]
    plain = gpt_oss(folder / "gpt-oss")
    return {
        "fp8": (quantized.fp8_checkpoint(brain, folder / "fp8"), brain),
        "fp8-brain": (quantized.fp8_checkpoint(brain, folder / "fp8b", (8, 16), torch.bfloat16), brain),
        "w4a16": (quantized.w4a16_checkpoint(brain, folder / "w4a16"), brain),
        "w4a16-all": (quantized.w4a16_checkpoint(brain, folder / "all", None, ignore, 7.5), brain),
        "w4a16-zero": (quantized.w4a16_checkpoint(brain, folder / "zero", symmetric=False), brain),
        "mxfp4": (quantized.mxfp4_checkpoint(plain, folder / "mxfp4"), plain),
    }


KINDS = ["fp8", "fp8-brain", "w4a16", "w4a16-all", "w4a16-zero", "mxfp4"]


@pytest.mark.parametrize("kind", KINDS)
def test_logical_names_and_shapes_are_those_of_the_plain_checkpoint(kind, made):
    folder, plain = (Checkpoint(path) for path in made[kind])
    form = format_of(folder.config)
    logical = logical_names(form, folder.tensors)
    assert set(logical) == set(plain.tensors)
    assert sorted(name for parts in logical.values() for name in parts.values()) == sorted(folder.tensors)
    several = {name for name, parts in logical.items() if len(parts) > 1}
    if kind == "mxfp4":
        assert several == {name for name in logical if name.endswith(("experts.gate_up_proj", "experts.down_proj"))}
    else:
        assert EXPERT in several
        attention = any("self_attn.q_proj" in name for name in several)
        assert attention == (kind in ("fp8", "fp8-brain", "w4a16-all"))
        assert not [name for name in several if any(word in name for word in ("lm_head", "norm", "embed", "mlp.gate."))]
    for name, parts in logical.items():
        assert stored_names(form, name, folder.tensors) == parts
        headers = {suffix: folder.tensors[stored] for suffix, stored in parts.items()}
        assert logical_shape(form, headers) == plain.tensors[name].shape


@pytest.mark.parametrize("kind", KINDS)
def test_reads_what_the_dequantised_checkpoint_holds(kind, made, tmp_path):
    folder = made[kind][0]
    plain = quantized.all_tensors(quantized.dequantised_checkpoint(folder, tmp_path / "plain"))
    read = Checkpoint(folder)
    form = format_of(read.config)
    for name, parts in logical_names(form, read.tensors).items():
        weight = read_logical(form, name, parts, read.read_stored)
        assert weight.dtype == torch.float32
        assert torch.equal(weight, plain[name].float())
        brain = read_logical(form, name, parts, read.read_stored, torch.bfloat16)
        assert torch.equal(brain, plain[name].to(torch.bfloat16))


# a zero point's scale comes back from groups that use all 16 codes only: test_pack_quantized.py
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "w4a16-zero"])
def test_values_just_read_are_written_as_they_were(kind, made):
    read = Checkpoint(made[kind][0])
    form = format_of(read.config)
    for name, parts in logical_names(form, read.tensors).items():
        like = {suffix: read.tensors[stored] for suffix, stored in parts.items()}
        encoded = requantised(form, name, read_logical(form, name, parts, read.read_stored), like)
        same_bytes(encoded, {suffix: read.read_stored(stored) for suffix, stored in parts.items()})
        for suffix, tensor in encoded.items():
            assert tuple(tensor.shape) == like[suffix].shape


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_weight_has_the_originals_parts(kind, made):
    read = Checkpoint(made[kind][0])
    form = format_of(read.config)
    name = "model.layers.1.mlp.experts.down_proj" if kind == "mxfp4" else EXPERT
    parts = stored_names(form, name, read.tensors)
    like = {suffix: read.tensors[stored] for suffix, stored in parts.items()}
    weight = read_logical(form, name, parts, read.read_stored)
    merged = (0.5 * weight + 0.5 * random(*weight.shape)).to(torch.bfloat16)
    encoded = requantised(form, name, merged, like)
    assert {suffix: (reference.DTYPE_NAMES[part.dtype], tuple(part.shape)) for suffix, part in encoded.items()} == {
        suffix: (header.dtype, header.shape) for suffix, header in like.items()
    }
    again = read_logical(form, name, {suffix: suffix for suffix in encoded}, encoded.__getitem__)
    # of the largest weight: half of e4m3's last step, 16 of 448, half of int4's, 1/2 of 7; e2m1 cuts 8 off to 6
    bound = {"fp8": 1 / 28, "w4a16": 1 / 14, "mxfp4": 1 / 4}[kind.split("-")[0]]
    assert (again - merged.float()).abs().max() <= 1.01 * bound * merged.abs().max()
    assert (again - merged.float()).norm() < 0.15 * merged.norm()


def loaded(folder):
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # transformers says that it dequantises without a GPU
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)


# transformers 5.23 loses zero points of experts, and keeps weights outside of stacked experts packed
@pytest.mark.parametrize("kind", ["fp8", "fp8-brain", "w4a16", "mxfp4"])
def test_transformers_loads_the_same_weights_from_the_quantised_and_the_dequantised(kind, made, tmp_path):
    folder = made[kind][0]
    plain = quantized.dequantised_checkpoint(folder, tmp_path / "plain")
    decoded, expected = (loaded(path).state_dict() for path in (folder, plain))
    assert set(decoded) == set(expected)
    for name, weight in expected.items():
        assert torch.equal(decoded[name].to(torch.bfloat16), weight), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_format_plans_what_a_checkpoint_stores(kind, made):
    """The headers of every quantised tensor, planned from its shape alone, but for the dtype of scales."""
    read = Checkpoint(made[kind][0])
    form = read.form
    for name, parts in read.logical.items():
        if form.key in parts:
            planned = form.planned(read.shape(name))
            assert planned.keys() == parts.keys()
            for suffix, header in read.headers_of(name).items():
                assert planned[suffix].shape == header.shape
                assert planned[suffix].dtype == header.dtype or suffix in ("_scale", "_scale_inv")
            assert form.shape(planned) == read.shape(name)


def test_without_a_format_every_tensor_is_itself(brain):
    read = Checkpoint(brain)
    assert format_of(read.config) is None
    names = logical_names(None, read.tensors)
    assert names == {name: {"": name} for name in read.tensors}
    weight = read_logical(None, EXPERT, names[EXPERT], read.read_stored)
    assert torch.equal(weight, read.read_stored(EXPERT).float())
    same_bytes(requantised(None, EXPERT, weight, {"": read.tensors[EXPERT]}), {"": read.read_stored(EXPERT)})


def test_names_that_only_look_like_parts_are_themselves():
    names = ["a.weight", "a.weight_scale_inv", "b.weight", "c_scale", "c_blocks", "c_scales", "d.bias_packed_shape"]
    assert logical_names(Fp8Block((8, 8)), names) == {
        "a.weight": {"": "a.weight", "_scale_inv": "a.weight_scale_inv"},
        **{name: {"": name} for name in names[2:]},
    }
    assert logical_names(Mxfp4(), names)["c"] == {"_blocks": "c_blocks", "_scales": "c_scales"}
    assert logical_names(PackQuantized(4, 8), names) == {name: {"": name} for name in names}


def test_a_missing_part_is_refused():
    refused(lambda: logical_names(Fp8Block((8, 8)), ["a.weight_scale_inv"]), "a.weight is missing", "fetch")
    refused(lambda: stored_names(PackQuantized(4, 8), "a", {"a_packed", "a_scale"}), "a_shape is missing")
    refused(lambda: stored_names(PackQuantized(4, 8, False), "a", {"a_packed", "a_scale", "a_shape"}), "a_zero_point")
    refused(lambda: stored_names(None, "a", {"b"}), "a is missing")


@pytest.mark.parametrize("code", [0x7F, 0xFF])
def test_fp8s_nan_codes_are_refused(code):
    stored = reference.fp8_stored(random(4, 4), (2, 2))
    stored[""].view(torch.uint8)[1, 2] = code
    names = {suffix: suffix for suffix in stored}
    refused(lambda: read_logical(Fp8Block((2, 2)), "a.weight", names, stored.__getitem__), "a.weight", "NaN")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scales_that_are_not_finite_are_refused(value):
    fp8 = reference.fp8_stored(random(4, 4), (2, 2))
    fp8["_scale_inv"][0, 1] = value
    packed = reference.packed_stored(random(4, 8), 8)
    packed["_packed"][2, 0] = -0x77777778  # all codes 0: 0 * Inf is NaN, too
    packed["_scale"][2, 0] = value
    mxfp4 = reference.mxfp4_stored(random(32, 3))
    mxfp4["_scales"][1, 0] = 255
    for form, stored in ((Fp8Block((2, 2)), fp8), (PackQuantized(4, 8), packed), (Mxfp4(), mxfp4)):
        names = {suffix: suffix for suffix in stored}
        refused(lambda: read_logical(form, "a.weight", names, stored.__getitem__), "a.weight", "NaN or Inf")  # noqa: B023


def test_fp8_without_scales_is_refused():
    codes = torch.zeros(2, 2).to(torch.float8_e4m3fn)
    for form in (None, Fp8Block((2, 2))):
        refused(lambda: read_logical(form, "a.weight", {"": ""}, lambda _: codes), "a.weight", "without scales")  # noqa: B023


def test_weights_that_cannot_be_stored_are_refused():
    fp8 = {"": reference.Header("F8_E4M3", (1, 2)), "_scale_inv": reference.Header("F16", (1, 1))}
    form = Fp8Block((8, 8))
    for bad in (float("nan"), float("inf")):
        refused(lambda: requantised(form, "a", torch.tensor([[1.0, bad]]), fp8), "a", "NaN or Inf")  # noqa: B023
    refused(lambda: requantised(form, "a", torch.tensor([[1.0, 1e38]]), fp8), "a_scale_inv", "F16")
    refused(lambda: requantised(None, "a", torch.tensor([1e38]), {"": reference.Header("F16", (1,))}), "a", "F16")


def test_the_builders_write_whole_checkpoints(made, brain):
    for folder, plain in made.values():
        index = json.loads((folder / quantized.INDEX).read_text())
        tensors = quantized.all_tensors(folder)
        assert set(index["weight_map"]) == set(tensors)
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
        assert len(set(index["weight_map"].values())) > 1
        others = {name for name in tiny.files(plain) if not name.endswith((".safetensors", ".json"))}
        assert {name: tiny.files(folder)[name] for name in others} == {name: tiny.files(plain)[name] for name in others}
