"""When the source files of ream changed: whether a process that has imported them runs what they say now."""

from pathlib import Path

import ream

Stamps = frozenset[tuple[str, int, int]]


def sources() -> Stamps:
    """Path, size in bytes and time of the last change in nanoseconds of every source file of ream."""
    stats = ((path, path.stat()) for path in Path(ream.__file__).parent.rglob("*.py"))
    return frozenset((str(path), status.st_size, status.st_mtime_ns) for path, status in stats)
