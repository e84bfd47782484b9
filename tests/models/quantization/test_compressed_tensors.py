"""Packed integers against compressed-tensors itself: words, what it decodes, and what it makes of the same weights."""

import pytest
import torch
from compressed_tensors.compressors import PackedQuantizationCompressor, pack_to_int32, unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams

from ream.models.quantization.integers import pack, unpack
from ream.models.quantization.pack_quantized import PackQuantized, from_config
from tests.models.quantization.helpers import random

BITS = [4, 8]
# Rows fill whole words of zero points or not, columns whole words of codes or not. Groups divide the columns, and there
# are more than 8 rows: compressed-tensors 0.20.1 refuses other groups and cannot unpack zero points of a single word.
SHAPES = [((16, 64), 32), ((12, 24), 8), ((9, 20), 4), ((9, 13), None), ((24, 16), None)]
SCHEMES = pytest.mark.parametrize(
    ("shape", "group", "bits", "symmetric"),
    [(shape, group, bits, symmetric) for shape, group in SHAPES for bits in BITS for symmetric in (True, False)],
)


def scheme_of(group, bits, symmetric):
    """Their scheme, and our format read from the config that they write for it."""
    weights = QuantizationArgs(
        num_bits=bits, symmetric=symmetric, strategy="group" if group else "channel", group_size=group
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    config = {"format": "pack-quantized", "config_groups": {"group_0": scheme.model_dump()}}
    form = from_config(config)
    assert form == PackQuantized(bits, group, symmetric)
    return scheme, form


def theirs(weight, scheme, dtype=torch.bfloat16):
    """What compressed-tensors stores for a weight, by our suffixes: its scales and zero points, its codes."""
    group = scheme.weights.group_size or weight.shape[1]
    groups = weight.reshape(len(weight), -1, group)
    scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), scheme.weights)
    state = {"weight": weight, "weight_scale": scale.to(dtype), "weight_zero_point": zero}
    return {
        name.removeprefix("weight"): tensor
        for name, tensor in PackedQuantizationCompressor.compress(state, scheme).items()
    }


def decoded_by_them(stored, scheme):
    state = {f"weight{suffix}": tensor for suffix, tensor in stored.items()}
    return PackedQuantizationCompressor.decompress(state, scheme)["weight"]


def both(shape, group, bits, symmetric):
    """A weight by groups, and what we and they store for it with scales in float32, with our format."""
    scheme, form = scheme_of(group, bits, symmetric)
    weight = random(*shape)
    like = form.planned(shape)
    like["_scale"] = like["_scale"]._replace(dtype="F32")
    groups = weight.reshape(len(weight), -1, group or shape[1])
    return groups, form.encode("x", weight, like), theirs(weight, scheme, torch.float32), form


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("count", [1, 7, 8, 33, 64])
def test_words(bits, count):
    low = -(2 ** (bits - 1))
    codes = torch.randint(low, -low, (5, count), generator=torch.Generator().manual_seed(0))
    words = pack_to_int32(codes.to(torch.int8), bits)
    assert torch.equal(pack(codes.float(), bits), words)
    assert torch.equal(unpack(words, bits, count), unpack_from_int32(words, bits, codes.shape).float())
    assert torch.equal(unpack(words, bits, count), codes.float())


@SCHEMES
def test_decodes_what_they_store(shape, group, bits, symmetric):
    """In float32 both compute (code - zero point) * scale in the same order: the same bits."""
    scheme, form = scheme_of(group, bits, symmetric)
    weight = random(*shape)
    stored = theirs(weight, scheme, torch.float32)
    assert set(stored) == set(form.required)
    decoded = form.decode("x", stored)
    assert torch.equal(decoded, decoded_by_them(stored, scheme))
    step = stored["_scale"].repeat_interleave(group or shape[1], 1)
    assert ((decoded - weight).abs() <= 1.001 * step).all()


@SCHEMES
def test_they_decode_what_we_store(shape, group, bits, symmetric):
    scheme, _ = scheme_of(group, bits, symmetric)
    _, stored, example, form = both(shape, group, bits, symmetric)
    names = {name.removeprefix("weight") for name in PackedQuantizationCompressor.compression_param_names(scheme)}
    assert set(stored) == names
    assert torch.equal(decoded_by_them(stored, scheme), form.decode("x", stored))
    for suffix, tensor in stored.items():
        assert (tensor.dtype, tensor.shape) == (example[suffix].dtype, example[suffix].shape)


@SCHEMES
def test_scales_in_bfloat16_are_rounded_as_they_do_it(shape, group, bits, symmetric):
    """Their result has the dtype of the scales: ours, rounded to it."""
    scheme, form = scheme_of(group, bits, symmetric)
    stored = theirs(random(*shape), scheme)
    assert stored["_scale"].dtype == torch.bfloat16
    codes = unpack(stored["_packed"], bits, shape[1])
    if not symmetric:
        zero = unpack(stored["_zero_point"].T, bits, shape[0]).T
        codes = codes - zero.repeat_interleave(group or shape[1], 1)
    exact = codes * stored["_scale"].float().repeat_interleave(group or shape[1], 1)
    assert torch.equal(form.decode("x", stored), exact)
    assert torch.equal(decoded_by_them(stored, scheme).float(), exact.to(torch.bfloat16).float())


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("shape", "group"), SHAPES)
def test_with_zero_points_codes_are_theirs(shape, group, bits):
    """Our scale is rounded up to its dtype, theirs to the nearest: the last bit may differ."""
    _, ours, example, _ = both(shape, group, bits, symmetric=False)
    assert torch.equal(ours["_packed"], example["_packed"])
    assert torch.equal(ours["_zero_point"], example["_zero_point"])
    assert torch.equal(ours["_shape"], example["_shape"])
    larger = ours["_scale"].view(torch.int32) - example["_scale"].view(torch.int32)
    assert set(larger.unique().tolist()) <= {0, 1}


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("shape", "group"), SHAPES)
def test_without_zero_points_our_scale_cuts_nothing_off(shape, group, bits):
    """Theirs is max |w| / 7.5 and cuts off up to half a step; ours is max |w| / 7 or down to max |w| / 8."""
    groups, ours, example, form = both(shape, group, bits, symmetric=True)
    ratio = ours["_scale"] / example["_scale"]
    assert ratio.max() <= (2**bits - 1) / (2**bits - 2) + 1e-6
    assert ratio.min() >= (2**bits - 1) / 2**bits - 1e-6
    error = (form.decode("x", ours).reshape(groups.shape) - groups).abs().amax(-1)
    assert (error <= 0.5001 * ours["_scale"]).all()
