"""Tensors that lie in a file instead of in memory, read and written a part at a time."""

import math
import mmap
import os
from pathlib import Path

import torch
from torch import Tensor

from ream.errors import UserError


class MappedTensor:
    """A tensor whose memory is a file's, shared with the disk: what is written to it is in the file.

    Attributes:
        tensor: of the shape and dtype; valid as long as this object.
        path: of the file.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        """Map a file, which is made or brought to its size where it is not yet; one that has it stays as it is.

        The space is reserved at once, so that a disk that is too full is found here: writing to a mapped page for which
        there is no space would kill the process.

        Raises:
            UserError: there is no space, or the folder cannot be written.
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
                f"{path} ({size / 1e9:.1f} GB of hidden states) cannot be written: {error.strerror}; free space, "
                "choose another folder, or raise compute.hidden_memory_gb to keep them in memory"
            ) from error
        self.tensor: Tensor = torch.frombuffer(self._map, dtype=dtype, count=math.prod(shape)).reshape(shape)

    def release(self) -> None:
        """Give the pages back: what was written goes to the file, what is read again comes from it."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def flush(self) -> None:
        """Have everything on the disk."""
        self._map.flush()
