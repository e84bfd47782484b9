"""FP8 in blocks against the reference element by element, transformers' own dequantisation and cases by hand."""

from types import SimpleNamespace

import pytest
import torch

from ream.models.quantization.fp8_block import Fp8Block
from tests.models.quantization import reference
from tests.models.quantization.helpers import random, refused, same_bytes

SHAPES = [((16, 24), (8, 8)), ((20, 27), (8, 8)), ((3, 5), (8, 8)), ((9, 16), (4, 8)), ((5, 7), (1, 4))]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def like(dtype=torch.float32):
    return {"": reference.Header("F8_E4M3", ()), "_scale_inv": reference.Header(reference.DTYPE_NAMES[dtype], ())}


@pytest.mark.parametrize(("shape", "block"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_encodes_and_decodes_as_the_reference(shape, block, dtype):
    weight = random(*shape)
    form = Fp8Block(block)
    expected = reference.fp8_stored(weight, block, dtype)
    encoded = form.encode("x", weight, like(dtype))
    same_bytes(encoded, expected)
    codes, scales = encoded[""].view(torch.uint8).tolist(), encoded["_scale_inv"].float().tolist()
    assert torch.equal(form.decode("x", encoded), reference.fp8_decode(codes, scales, block))


def test_every_finite_code_decodes_to_its_value():
    codes = torch.tensor([code for code in range(256) if code & 127 != 127], dtype=torch.uint8).reshape(1, -1)
    stored = {"": codes.view(torch.float8_e4m3fn), "_scale_inv": torch.full((1, 2), 2.0)}
    expected = [2 * reference.e4m3(code) for code in codes[0].tolist()]
    assert Fp8Block((1, 128)).decode("x", stored)[0].tolist() == expected


def test_one_block_by_hand():
    # 448 is the largest code, so the scale is 1. Between 16 and 32 the step is 2: 17 and 19 are ties and go to the even
    # mantissas 16 and 20. 448 = 1.75 * 2^8 has exponent 15 of bias 7 and mantissa 6: 0x7E
    weight = torch.tensor([[448.0, -224.0], [17.0, -19.0]])
    encoded = Fp8Block((2, 2)).encode("x", weight, like())
    assert encoded["_scale_inv"].tolist() == [[1.0]]
    assert encoded[""].view(torch.uint8).tolist() == [[0x7E, 0xF6], [0x58, 0xDA]]
    assert Fp8Block((2, 2)).decode("x", encoded).tolist() == [[448.0, -224.0], [16.0, -20.0]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_decoded_checkpoint_encodes_to_the_same_bytes(dtype):
    form = Fp8Block((8, 8))
    for seed in range(5):
        stored = reference.fp8_stored(random(32, 40, seed=seed), (8, 8), dtype)
        same_bytes(form.encode("x", form.decode("x", stored), like(dtype)), stored)


def test_decoded_power_of_two_blocks_keep_their_values_and_all_but_those_of_224_their_bytes():
    # 225 to 232 times the scale become the code 224, which is 448 times half the scale
    form = Fp8Block((8, 8), power_of_two=True)
    stored = reference.fp8_stored(random(128, 128), (8, 8), torch.float32, power_of_two=True)
    decoded = form.decode("x", stored)
    encoded = form.encode("x", decoded, like())
    assert torch.equal(form.decode("x", encoded), decoded)
    largest = stored[""].float().abs().unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).amax((-3, -1))
    assert (largest == 224).any()
    expected = torch.where(largest == 224, 0.5, 1.0) * stored["_scale_inv"]
    assert torch.equal(encoded["_scale_inv"], expected)
    same = (largest > 224).repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert torch.equal(encoded[""].view(torch.uint8)[same], stored[""].view(torch.uint8)[same])


def test_float32_scales_come_back_whatever_their_last_bits():
    # s = fl(a / 448), decoded fl(448 s), again / 448: the roundings undo each other for every a
    weight = random(4096, 1)
    form = Fp8Block((1, 1))
    stored = form.encode("x", weight, like())
    assert torch.equal(stored["_scale_inv"], weight.abs() / 448)
    same_bytes(form.encode("x", form.decode("x", stored), like()), stored)


def test_power_of_two_scales_are_the_next_one_up():
    form = Fp8Block((1, 1), power_of_two=True)
    encoded = form.encode("x", torch.tensor([[448.0, 449.0, 224.0, 1.0]]), like())
    assert encoded["_scale_inv"].tolist() == [[1.0, 2.0, 0.5, 2.0**-8]]
    weight = random(24, 16)
    expected = reference.fp8_stored(weight, (8, 8), torch.float32, power_of_two=True)
    same_bytes(Fp8Block((8, 8), True).encode("x", weight, like()), expected)


def test_a_scale_that_its_dtype_rounds_down_saturates_within_half_a_step():
    largest = torch.linspace(1, 2, 257)[:, None]
    form = Fp8Block((1, 1))
    encoded = form.encode("x", largest, like(torch.bfloat16))
    assert (encoded["_scale_inv"].float() < largest / 448).any()
    assert encoded[""].float().unique().tolist() == [448.0]
    assert ((form.decode("x", encoded) - largest).abs() <= 16 * encoded["_scale_inv"].float()).all()


def test_a_subnormal_float16_scale_is_rounded_up_rather_than_cutting_off():
    # 1.4 * 2^-24 * 448: the nearest float16 is 2^-24, under which the largest code would be 40% short
    weight = torch.tensor([[1.4 * 2.0**-24 * 448]])
    encoded = Fp8Block((1, 1)).encode("x", weight, like(torch.float16))
    assert encoded["_scale_inv"].float().item() == 2.0**-23
    assert encoded[""].float().item() == 320.0  # 313.6, where the step is 32


def test_zero_blocks_have_scale_one_and_zeros_keep_their_sign():
    weight = torch.zeros(4, 4)
    weight[0, 0], weight[2, 3] = -0.0, 3.0
    form = Fp8Block((2, 2))
    encoded = form.encode("x", weight, like())
    assert encoded["_scale_inv"].tolist() == [[1.0, 1.0], [1.0, torch.tensor(3.0).div(448).item()]]
    assert encoded[""].view(torch.uint8)[0].tolist() == [0x80, 0, 0, 0]
    decoded = form.decode("x", encoded)
    assert torch.equal(decoded == 0, weight == 0)


def test_stacked_experts_are_encoded_one_by_one():
    weight = random(3, 16, 12)
    form = Fp8Block((8, 8))
    encoded = form.encode("x", weight, like())
    alone = [form.encode("x", expert, like()) for expert in weight]
    same_bytes(encoded, {suffix: torch.stack([one[suffix] for one in alone]) for suffix in encoded})
    decoded = form.decode("x", encoded)
    for n, expert in enumerate(alone):
        assert torch.equal(decoded[n], form.decode("x", expert))


@pytest.mark.parametrize(("shape", "block"), [((16, 24), (8, 8)), ((12, 16), (4, 8)), ((3, 16, 8), (8, 8))])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transformers_dequantises_to_the_same_values(shape, block, dtype):
    """In float32 and, as it does for a module of that dtype, in bfloat16."""
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    form = Fp8Block(block)
    stored = form.encode("x", random(*shape), like(dtype))
    for output in (torch.float32, torch.bfloat16):
        theirs = Fp8Dequantize(None)._dequantize_one(stored[""], stored["_scale_inv"], output)
        assert theirs.dtype == output
        assert torch.equal(form.decode("x", stored).to(output), theirs)
    whole = Fp8Dequantize(None).convert({"weight": [stored[""]], "weight_scale_inv": [stored["_scale_inv"]]})
    assert torch.equal(form.decode("x", stored).to(dtype), whole["weight"])


@pytest.mark.parametrize("shape", [(16, 24), (3, 16, 8)])
@pytest.mark.parametrize("block", [(8, 8), (4, 8), (16, 2)])
def test_transformers_quantises_to_the_same_codes(shape, block):
    """transformers multiplies with 1 / scale, where the format divides: the last bit of a scale may differ."""
    from transformers import FineGrainedFP8Config
    from transformers.integrations.finegrained_fp8 import Fp8Quantize

    weight = random(*shape)
    weight[..., :16, :8] *= 0  # a block of zeros has scale 1 there, too
    quantizer = SimpleNamespace(quantization_config=FineGrainedFP8Config(weight_block_size=block))
    theirs = Fp8Quantize(quantizer).convert({"a.weight": weight})
    ours = Fp8Block(block).encode("a", weight, like())
    distance = ours["_scale_inv"].view(torch.int32) - theirs["a.weight_scale_inv"].view(torch.int32)
    assert distance.abs().max() <= 1
    assert (distance == 0).float().mean() > 0.5
    codes, expected = ours[""].view(torch.uint8).int(), theirs["a.weight"].view(torch.uint8).int()
    assert (codes == expected).float().mean() > 0.999
    assert (codes - expected).abs().max() <= 1


def test_scales_that_do_not_fit_are_refused():
    stored = reference.fp8_stored(random(16, 24), (8, 8))
    refused(lambda: Fp8Block((16, 8)).decode("a.weight", stored), "a.weight_scale_inv", "[2, 3]", "[1, 3]")
    wrong = stored | {"_scale_inv": torch.zeros(2, 3, dtype=torch.uint8)}
    refused(lambda: Fp8Block((8, 8)).decode("a.weight", wrong), "a.weight", "uint8", "dequantise")
