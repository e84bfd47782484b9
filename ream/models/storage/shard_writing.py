"""Writing a safetensors file tensor by tensor.

The safetensors library writes a file from tensors that are all in memory; a shard is streamed here instead, from the
header that the format defines (8 bytes of length, JSON, data), so that a few tensors are in memory at a time and a
tensor that is not touched is copied byte for byte. Tensors are hashed and written while the next are made.
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
    """A tensor to be written: its header entry and a function that makes its bytes, piece by piece, when their turn
    comes.

    ``reads``: the original's shards that making it may read.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Iterable[Piece]]
    reads: frozenset[str] = frozenset()

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * STORED[self.dtype].bytes


def tensor_bytes(tensor: Tensor) -> bytes:
    """The little-endian bytes of a tensor, row-major."""
    flat = tensor.detach().cpu().reshape(-1)  # an axis of length 1 may have any stride, which view() does not like
    return flat.view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def write_shard(path: Path, tensors: Sequence[OutputTensor], like: bytes | None = None) -> str:
    """Write a safetensors file, atomically, with a few tensors (of stacked experts, a few experts) in memory at a time.

    Args:
        path: of the file.
        tensors: in the order of their data.
        like: header of the original shard; its ``__metadata__`` and, where nothing differs, its bytes are kept.

    Returns:
        SHA-256 of the file.

    Raises:
        UserError: the disk is full.
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
                    raise ValueError(f"{tensor.name}: {made} bytes made, {tensor.bytes} announced")
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()
