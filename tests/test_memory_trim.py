"""Freed memory goes back to the system."""

from pathlib import Path

import torch

from ream.memory import trim

MEGA = 1_000_000


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
