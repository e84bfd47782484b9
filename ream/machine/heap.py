"""Freed memory that is needed again at once: kept by the C library for the length of a block."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# Of mallopt(3). A call ends glibc's own adjustment, so afterwards both are what that comes to at most.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
USUAL = {TRIM_THRESHOLD: 64 << 20, MMAP_MAX: 65536}
KEPT = {TRIM_THRESHOLD: 2**31 - 1, MMAP_MAX: 0}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Give freed memory back to the system at the end of the block only.

    glibc returns every freed piece of some megabytes at once, and the system clears the pages of the next one, which
    costs more than small tensors' arithmetic, and more still where two processes do so at a time. Elsewhere than with
    glibc the block runs as always.
    """
    library = _glibc()
    if library is None:
        yield
        return
    _set(library, KEPT)
    try:
        yield
    finally:
        _set(library, USUAL)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process where it has both functions; None for others."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _set(library: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        library.mallopt(option, value)
