"""What this machine has left: memory, also within a container's limit, disk, and a GPU's memory."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Bytes that can still be used without swapping, within the limits of all control groups; None where unknown.

    Args:
        proc, cgroup: where the kernel says so.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return None
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min([free, *_within_limits(proc, cgroup)])


def free_disk(folder: Path) -> int:
    """Bytes free where a folder is, or is to be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def free_device(device: torch.device) -> int | None:
    """Bytes free on a GPU; None for the host itself."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


def free_threads(device: torch.device) -> int:
    """Threads that can work beside what a device computes: with a GPU one on each of this process's cores; else those
    that torch may use, where these are several, and 0 where it has one, which is at work itself.
    """
    if device.type == "cuda":
        return len(os.sched_getaffinity(0))
    threads = torch.get_num_threads()
    return threads if threads > 1 else 0


def size_on_disk(folder: Path) -> int:
    """Bytes that the files below a folder take; 0 where there is none."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _within_limits(proc: Path, cgroup: Path) -> Iterator[int]:
    """What each limit over this process leaves: version 2 at every level of its path, version 1 at its own."""
    try:
        entries = [line.split(":", 2) for line in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return
    for number, controllers, path in entries:
        if number == "0" and not controllers:
            root, limit, usage, reclaimable = cgroup, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            reclaimable = "total_inactive_file"
        else:
            continue
        for level in (root / path.strip("/"), *(root / path.strip("/")).parents):
            if level != root and root not in level.parents:
                break
            try:
                most, used = (level / limit).read_text().strip(), int((level / usage).read_text())
                statistics = dict(line.split() for line in (level / "memory.stat").read_text().splitlines())
            except OSError:
                continue
            if most != "max":
                yield max(0, int(most) - used + int(statistics.get(reclaimable, 0)))
