"""Writing a safetensors file tensor by tensor.

The safetensors library writes a file from tensors that are all in memory. Here a shard is streamed instead, in the
order that the format defines (8 bytes of length, JSON, data): only a few tensors are in memory at a time, and an
untouched tensor is copied byte for byte. Tensors are hashed and written while the next ones are made.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ream.machine.files import replacing
from ream.models.storage.written_behind import Piece, written_behind
from ream.models.stored_dtypes import STORED


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to be written.

    Attributes:
        name: of the tensor.
        dtype: its safetensors dtype.
        shape: of the tensor.
        make: makes the tensor's bytes, piece by piece, when it is written.
        reads: file names of the original's shards that ``make`` may read.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Iterable[Piece]]
    reads: frozenset[str] = frozenset()

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return math.prod(self.shape) * STORED[self.dtype].bytes


def tensor_bytes(tensor: Tensor) -> bytes:
    """The little-endian bytes of a tensor, row-major."""
    flat = tensor.detach().cpu().reshape(-1)  # view() below refuses the stride that an axis of length 1 may have
    return flat.view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def write_shard(path: Path, tensors: Sequence[OutputTensor], like: bytes | None = None) -> str:
    """Write a safetensors file atomically, with a few tensors (of stacked experts, a few experts) in memory at a time.

    Args:
        path: of the file.
        tensors: in the order of their data.
        like: header of the original shard. Its ``__metadata__`` is kept and, if the headers are equal, its bytes.

    Returns:
        SHA-256 of the file.

    Raises:
        UserError: the disk is full.
        ValueError: a tensor's ``make`` gives another number of bytes than its dtype and shape say.
    """
    original = json.loads(like) if like else {"__metadata__": {"format": "pt"}}
    header: dict[str, Any] = {key: value for key, value in original.items() if key == "__metadata__"}
    offset = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.bytes],
        }
        offset += tensor.bytes
    raw = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    if like is not None and original == header:
        raw = like
    with replacing(path) as temporary, open(temporary, "wb") as file:
        digest = hashlib.sha256()

        def write(piece: Piece) -> None:
            digest.update(piece)
            file.write(piece)

        with written_behind(write) as put:
            put(len(raw).to_bytes(8, "little") + raw)
            for tensor in tensors:
                made = 0
                for data in tensor.make():
                    put(data)
                    made += len(data)
                if made != tensor.bytes:
                    raise ValueError(f"{tensor.name}: {made} bytes were made, its shape needs {tensor.bytes}")
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
