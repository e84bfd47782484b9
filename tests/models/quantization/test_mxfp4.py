"""MXFP4 against the reference element by element, transformers' own dequantisation and a case by hand."""

import pytest
import torch

from ream.models.quantization.mxfp4 import Mxfp4
from tests.models.quantization import reference
from tests.models.quantization.helpers import random, refused, same_bytes

FORM = Mxfp4()
LIKE = {"_blocks": reference.Header("U8", ()), "_scales": reference.Header("U8", ())}


@pytest.mark.parametrize("shape", [(32, 5), (96, 8), (3, 64, 6)])
def test_encodes_and_decodes_as_the_reference(shape):
    weight = random(*shape)
    encoded = FORM.encode("x", weight, LIKE)
    same_bytes(encoded, reference.mxfp4_stored(weight))
    assert torch.equal(FORM.decode("x", encoded), reference.mxfp4_decode(encoded))
    assert FORM.shape(reference.headers(encoded)) == shape


def test_one_block_by_hand():
    # the largest, 7.9, has exponent 2, that of 6: s = 127, scale 1, and 7.9 saturates. 0.25, 0.75, 1.25, 1.75, 2.5, 3.5
    # and 5 are ties and go to the even codes 0, 2 (1), 2, 4 (2), 4, 6 (4), 6
    row = [7.9, -0.25, 0.75, 1.25, -1.75, 2.5, 3.5, 5.0, -0.0, 0.26] + 22 * [0.0]
    encoded = FORM.encode("x", torch.tensor([row]).T, LIKE)
    assert encoded["_scales"].tolist() == [[127]]
    assert encoded["_blocks"].tolist() == [[[0x87, 0x22, 0x4C, 0x66, 0x18, *[0] * 11]]]
    values = [6, 0, 1, 1, -2, 2, 4, 4, 0, 0.5]
    assert FORM.decode("x", encoded)[:10, 0].tolist() == values


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformers_dequantises_to_the_same_values(dtype):
    """Every code, under scales over the whole range of bfloat16's normal numbers."""
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(256, (3, 20, 2, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(2, 252, (3, 20, 2), generator=generator, dtype=torch.uint8)
    assert len(blocks.unique()) == 256
    theirs = convert_moe_packed_tensors(blocks, scales, dtype=dtype)
    assert theirs.dtype == dtype
    assert torch.equal(FORM.decode("x", {"_blocks": blocks, "_scales": scales}).to(dtype), theirs)


def test_transformers_dequantises_what_is_encoded():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    weight = random(3, 64, 6)
    stored = FORM.encode("x", weight, LIKE)
    theirs = convert_moe_packed_tensors(stored["_blocks"], stored["_scales"], dtype=torch.float32)
    assert torch.equal(FORM.decode("x", stored), theirs)
    largest = weight.abs().unflatten(1, (-1, 32)).amax(2, keepdim=True)
    assert ((theirs - weight).abs().unflatten(1, (-1, 32)) <= largest / 4).all()  # 8 scales are cut to 6


def test_a_decoded_checkpoint_encodes_to_the_same_bytes():
    for seed in range(3):
        stored = reference.mxfp4_stored(random(2, 64, 8, seed=seed))
        same_bytes(FORM.encode("x", FORM.decode("x", stored), LIKE), stored)


def test_other_rules_scales_change_but_no_value_does():
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(256, (4, 6, 2, 16), generator=generator, dtype=torch.uint8) & 0xBB  # codes 0 to 3: up to 1.5
    scales = torch.randint(1, 255, (4, 6, 2), generator=generator, dtype=torch.uint8)
    decoded = FORM.decode("x", {"_blocks": blocks, "_scales": scales})
    encoded = FORM.encode("x", decoded, LIKE)
    assert torch.equal(FORM.decode("x", encoded), decoded)
    assert (encoded["_scales"] < scales).any()


def test_scales_reach_from_the_least_to_the_largest_exponent():
    tiny, huge = 2.0**-127, 2.0**125
    weight = torch.zeros(32, 3)
    weight[:4, 0] = torch.tensor([6.0, 0.5, -1.5, 3.0]) * tiny
    weight[:4, 1] = torch.tensor([6.0, 0.5, -1.5, 3.0]) * huge
    encoded = FORM.encode("x", weight, LIKE)
    assert encoded["_scales"].tolist() == [[0], [252], [0]]
    assert torch.equal(FORM.decode("x", encoded), weight)
    # below the least scale the codes become smaller instead
    encoded = FORM.encode("x", weight / 4, LIKE)
    assert encoded["_scales"][0].item() == 0
    assert FORM.decode("x", encoded)[:4, 0].tolist() == [1.5 * tiny, 0.0, -0.5 * tiny, 1.0 * tiny]


def test_a_nan_scale_decodes_to_nan():
    stored = {"_blocks": torch.zeros(1, 1, 16, dtype=torch.uint8), "_scales": torch.tensor([[255]], dtype=torch.uint8)}
    assert FORM.decode("x", stored).isnan().all()


def test_an_expert_alone_is_as_among_the_others():
    weight = random(3, 64, 4)
    stored = FORM.encode("x", weight, LIKE)
    one = {suffix: tensor[1] for suffix, tensor in stored.items()}
    same_bytes(FORM.encode("x", weight[1], LIKE), one)
    assert torch.equal(FORM.decode("x", one), FORM.decode("x", stored)[1])


def test_shapes_that_do_not_fit_are_refused():
    stored = reference.mxfp4_stored(random(64, 4))
    refused(lambda: FORM.decode("a", stored | {"_scales": stored["_scales"][:2]}), "a_blocks", "[4, 2, 16]", "[2, 2]")
    refused(lambda: FORM.decode("a", stored | {"_scales": stored["_scales"].float()}), "a", "float32", "uint8")
    refused(lambda: FORM.encode("a", random(40, 4), LIKE), "a", "40", "multiple of 32")
