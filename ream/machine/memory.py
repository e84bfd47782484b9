"""Giving freed memory back to the system."""

import ctypes


def trim() -> None:
    """Have the C library return what is free in its heap, where it is one that can (glibc).

    It keeps freed blocks of up to 32 MB for the next ones: after the experts of a layer, those of a whole layer, which
    then lie beside whatever is larger and is mapped anew, such as an embedding table.
    """
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
