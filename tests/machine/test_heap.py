"""Freed memory that stays with the process for the length of a block."""

import os
import resource
import subprocess
import sys

import pytest

from ream.machine import heap
from ream.machine.heap import freed_memory_kept

PIECE = 64 << 20
PAGES = PIECE // resource.getpagesize()
SMALL_PAGES = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}
COUNT = f"""
import resource
import numpy as np
from ream.machine.heap import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones({PIECE} // 8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

before = faults()
with freed_memory_kept():
    within, kept = faults(), resident()
print(before, within, faults(), kept - resident())
"""


@pytest.mark.skipif(heap._glibc() is None, reason="not glibc")
def test_freed_memory_is_used_again_and_given_back_at_the_end():
    """In a process of its own, whose heap nothing else has split."""
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, env=SMALL_PAGES)
    before, within, after, returned = map(int, done.stdout.split())
    assert before > 9 * PAGES  # every piece's pages are new
    assert within < 2 * PAGES
    assert after > 9 * PAGES
    assert returned > 0.9 * PAGES


def test_other_c_libraries_run_the_block_as_always(monkeypatch):
    monkeypatch.setattr(heap, "_glibc", lambda: None)
    with freed_memory_kept():
        ran = True
    assert ran


@pytest.mark.skipif(heap._glibc() is None, reason="not glibc")
def test_an_error_ends_the_block(monkeypatch):
    seen = []
    monkeypatch.setattr(heap, "_set", lambda library, options: seen.append(options))
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        raise ZeroDivisionError
    assert seen == [heap.KEPT, heap.USUAL]
