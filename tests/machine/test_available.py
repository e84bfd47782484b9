"""What is left on this machine: disk for folders that do not exist yet, a GPU's memory, threads."""

import os
import shutil

import pytest
import torch

from ream.machine.available import free_device, free_disk, free_threads, size_on_disk


def test_the_host_has_no_memory_of_a_gpu():
    assert free_device(torch.device("cpu")) is None


@pytest.mark.parametrize(("torch_threads", "expected"), [(1, 0), (2, 2), (7, 7)])
def test_threads_beside_a_host_that_computes(torch_threads, expected, monkeypatch):
    """One thread is at work itself; of several, each may take a turn."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_threads)
    assert free_threads(torch.device("cpu")) == expected
    assert free_threads(torch.device("cuda")) == len(os.sched_getaffinity(0))


def test_disk(tmp_path):
    assert free_disk(tmp_path / "not" / "yet") == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.01)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(bytes(10_000))
    assert size_on_disk(tmp_path) == 3 * 4096
    assert size_on_disk(tmp_path / "none") == 0
