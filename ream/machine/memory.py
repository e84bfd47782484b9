"""Memory of this machine and this process: what is free within a container's limit, the peak, and giving it back.

Light stages import this module, so it must not import torch.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUP = Path("/proc"), Path("/sys/fs/cgroup")
KIBI = 1024
LIBRARIES_BYTES = 700_000_000  # Python with torch, transformers and what they import, measured on a CPU


def free_memory(proc: Path = PROC, cgroup: Path = CGROUP) -> int | None:
    """Bytes that can still be used without swapping, within the limits of all control groups; None where unknown.

    psutil's `virtual_memory` reads the same MemAvailable but knows no control groups.

    Args:
        proc: where the kernel describes the machine and this process.
        cgroup: where the kernel describes the control groups.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return None
    available = next(int(line.split()[1]) * KIBI for line in lines if line.startswith("MemAvailable:"))
    return min([available, *_free_within_limits(proc, cgroup)])


def peak_memory(proc: Path = PROC) -> int:
    """The peak of this process's resident memory in bytes, from the kernel's high-water mark; 0 where it keeps none.

    The mark (VmHWM) is read by hand, because nothing else gives it: `resource.getrusage`'s ru_maxrss survives exec, so
    a child of a process of 600 MB starts at 600 MB (measured; its VmHWM was 13 MB), and psutil, up to 7.2.2, has a peak
    on Windows alone.

    Args:
        proc: where the kernel describes this process.
    """
    status = proc / "self" / "status"
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.exists() else []
    return sum(KIBI * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def trim() -> None:
    """Ask the C library to return the free blocks of its heap to the system, where it can (glibc).

    It keeps freed blocks of up to 32 MB for later use: after a layer's experts are freed, the memory of a whole layer.
    Without trimming that lies beside whatever is larger and mapped anew, such as an embedding table.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def _free_within_limits(proc: Path, cgroup: Path) -> Iterator[int]:
    """Bytes that each limit over this process leaves: version 2 at every level of its path, version 1 at its own.

    Reclaimable page cache counts as free.
    """
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
