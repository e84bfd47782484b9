"""Reading all weights of a local checkpoint before any work: one NaN is found wherever it lies."""

import math

import pytest
import torch
from safetensors.torch import save_file

from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.finite import BLOCK_BYTES, check_weights
from tests.models.storage.test_checkpoint import refused

COUNT = 40  # of 4 bytes: two whole blocks of 64 bytes and half a block


def written(folder, **tensors):
    (folder / "config.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors")
    return Checkpoint(folder)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    assert BLOCK_BYTES % 64 == 0
    monkeypatch.setattr("ream.models.storage.finite.BLOCK_BYTES", 64)


def test_finite_weights_pass(tmp_path):
    check_weights(written(tmp_path, a=torch.full((COUNT,), 3e38), empty=torch.zeros(0), n=torch.tensor([-1])))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 15, 16, 31, 32, COUNT - 1])
def test_one_value_at_the_ends_of_every_block(tmp_path, place, value):
    bad = torch.zeros(COUNT)
    bad[place] = value
    checkpoint = written(tmp_path, a=torch.zeros(COUNT), b=bad, c=torch.zeros(COUNT))
    refused(lambda: check_weights(checkpoint), "model.safetensors", ": b holds NaN or Inf")


@pytest.mark.parametrize("code", [0x7F, 0xFF])
def test_codes_of_8_bits_count(tmp_path, code):
    codes = torch.zeros(COUNT, dtype=torch.uint8)
    codes[-1] = code
    checkpoint = written(tmp_path, codes=codes.view(torch.float8_e4m3fn))
    refused(lambda: check_weights(checkpoint), "codes holds NaN or Inf")
