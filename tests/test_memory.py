"""Freed memory goes back to the system; the peak of `ream compress` follows the size of a layer, not of the model."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from ream.machine.memory import trim
from tests.tiny import ROOT

MEGA = 1_000_000
LAYERS, FEW = 14, 2
NOISE = 70e6  # bytes by which peaks of runs of one size differ: 623 and 684 MB were measured for the same two layers


def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])


def test_freed_blocks_are_given_back_though_others_lie_above_them():
    torch.ones(30 * MEGA // 4)  # freed, it has glibc take smaller blocks from its heap
    blocks = [torch.ones(2 * MEGA // 4) for _ in range(100)]
    last, full = blocks[-1], resident()
    del blocks
    trim()
    assert full - resident() > 150 * MEGA
    assert bool((last == 1).all())


@pytest.fixture(scope="module")
def memory():
    """benchmarks/memory.py."""
    spec = importlib.util.spec_from_file_location("memory_benchmark", ROOT / "benchmarks" / "memory.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def peak(memory, folder, sizes, method):
    """Peak resident bytes of compressing a model of these sizes, and the bytes of that model."""
    model, tokens = folder / "model", folder / "tokens.parquet"
    model.mkdir(parents=True)
    size = memory.generate(model, sizes)
    memory.write_tokens(tokens, sequences=4, tokens=64, vocabulary=4096)
    asked = argparse.Namespace(kept=sizes.experts // 2, threads=1, batch_tokens=128)
    command = memory.compress_command(model, folder / "out", tokens, method, asked)
    return memory.measured(command, folder / "log").peak, size


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", ["ream", "hc-smoe"])
def test_the_peak_is_that_of_one_layer(method, memory, tmp_path):
    layer = {"experts": 64, "hidden": 512, "width": 224, "vocabulary": 4096}
    large = memory.Sizes(layers=LAYERS, **layer)
    empty, _ = peak(memory, tmp_path / "empty", memory.Sizes(FEW, **layer | {"width": 8}), method)
    few, _ = peak(memory, tmp_path / "few", memory.Sizes(FEW, **layer), method)
    many, size = peak(memory, tmp_path / "many", large, method)
    one = 4 * large.layer  # bytes in float32
    assert size > 600e6
    assert many - few < NOISE < one  # not with the number of layers
    assert few - empty < 1.6 * one + NOISE  # of one layer no more than its float32 weights and a part of it beside
