"""What this machine has left beside memory: disk, a GPU's memory, and threads."""

import os
import shutil
from pathlib import Path

import torch

BLOCK_BYTES = 512  # unit of st_blocks


def free_disk(folder: Path) -> int:
    """Bytes free on the file system of a folder, which need not exist yet."""
    nearest = folder.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    return shutil.disk_usage(nearest).free


def free_device(device: torch.device) -> int | None:
    """Bytes free on a GPU; None for the host."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


def free_threads(device: torch.device) -> int:
    """Threads that can work beside what a device computes.

    With a GPU that is one for each of this process's cores. On the host it is the number of threads that torch may use,
    if there are several; 0 if there is one, which is busy computing.
    """
    if device.type == "cuda":
        return len(os.sched_getaffinity(0))
    threads = torch.get_num_threads()
    return threads if threads > 1 else 0


def size_on_disk(folder: Path) -> int:
    """Bytes that the files below a folder occupy; 0 where the folder does not exist."""
    return sum(path.stat().st_blocks * BLOCK_BYTES for path in folder.rglob("*") if path.is_file())
