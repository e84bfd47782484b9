"""Free memory within the limits of control groups, as the kernel writes them; the peak of this process alone."""

import subprocess
import sys

import pytest

from ream.machine.memory import free_memory, peak_memory, trim

GIB = 1024**3


def written(folder, **values):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (folder / name.replace("_dot_", ".")).write_text(f"{value}\n")


@pytest.fixture
def proc(tmp_path):
    written(tmp_path / "proc", meminfo="MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB")
    return tmp_path / "proc"


def test_no_limit(proc, tmp_path):
    assert free_memory(proc, tmp_path / "cgroup") == 8 * GIB
    assert free_memory(tmp_path / "none", tmp_path) is None


def test_version_2_the_narrowest_level_counts(proc, tmp_path):
    written(proc / "self", cgroup="0::/pod/box")
    root = tmp_path / "cgroup"
    written(root / "pod" / "box", memory_dot_max="max", memory_dot_current=GIB, memory_dot_stat="inactive_file 0")
    assert free_memory(proc, root) == 8 * GIB
    written(
        root / "pod", memory_dot_max=4 * GIB, memory_dot_current=3 * GIB, memory_dot_stat=f"anon 5\ninactive_file {GIB}"
    )
    assert free_memory(proc, root) == 2 * GIB  # what the page cache holds can be had
    written(root / "pod" / "box", memory_dot_max=GIB, memory_dot_current=2 * GIB, memory_dot_stat="inactive_file 0")
    assert free_memory(proc, root) == 0


def test_version_1(proc, tmp_path):
    written(proc / "self", cgroup="12:cpu,cpuacct:/x\n5:memory:/box\n0::/x")
    written(
        tmp_path / "cgroup" / "memory" / "box",
        memory_dot_limit_in_bytes=3 * GIB, memory_dot_usage_in_bytes=GIB, memory_dot_stat="total_inactive_file 0",
    )  # fmt: skip
    assert free_memory(proc, tmp_path / "cgroup") == 2 * GIB
    written(tmp_path / "cgroup" / "memory" / "box", memory_dot_limit_in_bytes=2**63 - 4096)  # version 1's "no limit"
    assert free_memory(proc, tmp_path / "cgroup") == 8 * GIB


def test_free_memory_of_this_machine():
    free = free_memory()
    assert free is not None
    assert 0 < free < 1e15


def test_the_peak_is_the_high_water_mark_in_bytes(tmp_path):
    written(tmp_path / "self", status="Name: x\nVmPeak:  900 kB\nVmHWM:\t   300 kB\nVmRSS: 200 kB")
    assert peak_memory(tmp_path) == 300 * 1024
    assert peak_memory(tmp_path / "none") == 0


def test_the_peak_of_a_child_does_not_begin_at_its_parents():
    """`resource` would say at least the parent's: its mark survives exec."""
    code = "from ream.machine.memory import peak_memory; print(peak_memory())"
    ballast = bytearray(b"x" * 300_000_000)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 1_000_000 < int(answer.stdout) < len(ballast) / 2 < peak_memory()


def test_trimming_is_allowed_at_any_time():
    trim()
    trim()
