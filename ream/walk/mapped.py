"""Tensors whose memory is a file, read and written a part at a time."""

import math
import mmap
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ream.errors import UserError
from ream.machine.units import bytes_shown


class MappedTensor:
    """A tensor in a memory-mapped file: what is written to the tensor is written to the file.

    Attributes:
        tensor: the tensor; valid as long as this object lives.
        path: of the file.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Map a file. A file of the right size keeps its contents; otherwise it is created or resized.

        Disk space is reserved at once, so that a full disk is noticed here: writing to a mapped page without space
        behind it would kill the process.

        Args:
            path: of the file.
            shape: of the tensor.
            dtype: of the tensor.

        Raises:
            UserError: there is no space, or the folder is not writable.
        """
        self.path, size = path, math.prod(shape) * dtype.itemsize
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if os.fstat(handle).st_size != size:
                    os.ftruncate(handle, 0)
                    os.posix_fallocate(handle, 0, size)
                self._map = mmap.mmap(handle, size)
            finally:
                os.close(handle)
        except OSError as error:
            if path.exists() and path.stat().st_size != size:
                path.unlink()
            raise UserError(
                f"{path} ({bytes_shown(size)} of hidden states) cannot be written: {error.strerror}; free space, "
                "choose another folder, or raise compute.hidden_memory_gb to keep them in memory"
            ) from error
        self.tensor: Tensor = torch.frombuffer(self._map, dtype=dtype, count=math.prod(shape)).reshape(shape)

    def release(self) -> None:
        """Free the memory of all pages. Written pages go to the file; pages read later come from it."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def flush(self) -> None:
        """Write everything to the disk."""
        self._map.flush()


class Room:
    """Tensors of all tokens by their names: in memory, or each in a mapped file of a folder."""

    def __init__(self, folder: Path | None) -> None:
        """Args:
        folder: of the mapped files; None keeps all tensors in memory.
        """
        self._folder = folder
        self._mapped: dict[str, MappedTensor] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor to be filled; in a file, the one of that name, with what it holds.

        Raises:
            UserError: see `MappedTensor`.
        """
        if self._folder is None or not math.prod(shape):
            return torch.empty(shape, dtype=dtype)
        if name not in self._mapped:
            self._mapped[name] = MappedTensor(self._folder / f"{name}.map", shape, dtype)
        return self._mapped[name].tensor

    def parts(self, data: Iterable[slice]) -> Iterator[slice]:
        """The slices one after the other; after each, the memory of all mapped files is freed."""
        for part in data:
            yield part
            for mapped in self._mapped.values():
                mapped.release()
