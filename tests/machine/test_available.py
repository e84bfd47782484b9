"""Free memory within the limits of control groups, as the kernel writes them; free disk of folders to be."""

import shutil

import pytest
import torch

from ream.machine.available import free_device, free_disk, free_memory, size_on_disk

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


def test_here():
    free = free_memory()
    assert free is not None
    assert 0 < free < 1e15
    assert free_device(torch.device("cpu")) is None


def test_disk(tmp_path):
    assert free_disk(tmp_path / "not" / "yet") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.01)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(10_000))
    assert size_on_disk(tmp_path) == 3 * 4096
    assert size_on_disk(tmp_path / "none") == 0
