"""Freed memory goes back to the system; the peak of `ream compress` depends on one layer, not on the whole model."""

import argparse
from pathlib import Path

import pytest
import torch

from benchmarks.memory import Sizes, compress_command, generate, measured, write_tokens
from ream.machine.memory import trim

MEGA = 1_000_000
LAYERS, FEW = 14, 2
NOISE = 70e6  # bytes by which peaks of equal runs differ: 623 and 684 MB were measured for the same two layers


def resident():
    """Resident bytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def test_freed_blocks_are_given_back_though_others_lie_above_them():
    torch.ones(30 * MEGA // 4)  # once it is freed, glibc takes smaller blocks from its heap
    blocks = [torch.ones(2 * MEGA // 4) for _ in range(100)]
    last, full = blocks[-1], resident()
    del blocks
    trim()
    assert full - resident() > 150 * MEGA
    assert bool((last == 1).all())


def peak(folder, sizes, method):
    """Peak resident bytes of compressing a model of these sizes, and the bytes of that model."""
    model, tokens = folder / "model", folder / "tokens.parquet"
    model.mkdir(parents=True)
    size = generate(model, sizes)
    write_tokens(tokens, sequences=4, tokens=64, vocabulary=4096)
    options = argparse.Namespace(kept=sizes.experts // 2, threads=1, batch_tokens=128)
    command = compress_command(model, folder / "out", tokens, method, options)
    return measured(command, folder / "log").peak, size


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", ["ream", "hc-smoe"])
def test_the_peak_is_that_of_one_layer(method, tmp_path):
    layer = {"experts": 64, "hidden": 512, "width": 224, "vocabulary": 4096}
    large = Sizes(layers=LAYERS, **layer)
    empty, _ = peak(tmp_path / "empty", Sizes(FEW, **layer | {"width": 8}), method)
    few, _ = peak(tmp_path / "few", Sizes(FEW, **layer), method)
    many, size = peak(tmp_path / "many", large, method)
    one = 4 * large.layer  # bytes in float32
    assert size > 600e6
    assert many - few < NOISE < one  # the peak does not grow with the number of layers
    assert few - empty < 1.6 * one + NOISE  # a layer takes its float32 weights and less than that again
