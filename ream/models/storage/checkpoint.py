"""Reading a safetensors checkpoint: all headers at once, without torch, and tensors one at a time."""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ream.errors import UserError
from ream.machine.files import read_table
from ream.models.quantization.config import format_of
from ream.models.quantization.names import logical_names, logical_shape
from ream.models.storage.shard_header import entries_of
from ream.models.storage.shard_names import compared, read_index
from ream.models.storage.shard_source import Header, LocalShards, ShardSource
from ream.models.stored_dtypes import STORED, is_finite

if TYPE_CHECKING:
    from torch import Tensor

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# Up to this total, the digest of a local checkpoint is over all bytes of its shards.
HASHED_BYTES = 2 * 1024**3
MOST_CONFIG_BYTES = 16 * 1024**2  # of config.json; the largest have 100 KiB


@dataclass(frozen=True)
class TensorInfo:
    """Where a stored tensor lies.

    Attributes:
        name: of the tensor.
        shard: file name of its shard.
        dtype: its safetensors dtype.
        shape: of the tensor.
        begin: position of its first byte in the file.
        end: position after its last byte in the file.
    """

    name: str
    shard: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return self.end - self.begin


class Checkpoint:
    """The tensors of a model's safetensors shards; headers are read at once, tensors on demand.

    Attributes:
        source: of the shards.
        folder: of all other files: config, index, tokenizer.
        config: content of config.json.
        tensors: the stored tensors by name.
        headers: shard file name to its header, byte for byte.
        shards: shard file name to its size in bytes.
        indexed: whether an index says which shards there are.
        remarks: what of the checkpoint may surprise, a line each.
        form: format of quantised tensors; None where config.json says nothing of quantisation.
        logical: the model's tensors, quantised or not: name to suffixes and stored names (`stored_names`).
    """

    indexed: bool = False
    remarks: tuple[str, ...] = ()

    def __init__(self, source: str | Path | ShardSource) -> None:
        """Read and check the headers of all shards.

        Args:
            source: a folder, or a source of shards.

        Raises:
            UserError: there are no safetensors files, a dtype or quantisation is not supported, the index is not one,
                or a shard is missing, truncated, corrupt or not what the index says.
        """
        self.source: ShardSource = LocalShards(Path(source)) if isinstance(source, str | Path) else source
        self.folder = self.source.folder
        self.config = read_table(self.folder / "config.json", MOST_CONFIG_BYTES)
        self.tensors: dict[str, TensorInfo] = {}
        self.headers: dict[str, bytes] = {}
        self.shards: dict[str, int] = {}
        self._contents: dict[str, str | None] = {}
        self._replaced: dict[str, str] = {}  # tensor name to the earlier of two shards that have it
        weight_map = self._weight_map()
        shards = sorted(set(weight_map.values())) if weight_map else [SINGLE]
        for shard, header in zip(shards, self.source.headers(shards), strict=True):
            self._take_header(shard, header)
        places = {name: info.shard for name, info in self.tensors.items()}
        self.remarks += tuple(compared(weight_map, places, self._replaced, str(self.folder / INDEX)))
        self.form = format_of(self.config, str(self.folder / "config.json"))
        try:
            self.logical = logical_names(self.form, self.tensors)
        except UserError as error:
            raise UserError(f"{self.folder}: {error}") from None

    def _weight_map(self) -> Mapping[str, str]:
        """Tensor name to shard file name, from the index; empty where a single file is read."""
        path = self.folder / INDEX
        if not path.exists():
            if not self.source.has(SINGLE):
                raise UserError(f"{self.folder} has neither {INDEX} nor {SINGLE}; a safetensors checkpoint is needed")
            return {}
        weight_map = read_index(path).weight_map
        if set(weight_map.values()) != {SINGLE} and self.source.has(SINGLE):
            self.remarks += (f"{self.folder}: {SINGLE} is read, as transformers does, and not the shards of {INDEX}",)
            return {}
        self.indexed = True
        return weight_map

    def _take_header(self, shard: str, given: Header) -> None:
        """Add the tensors of a shard's header; of a tensor in two shards, the later counts, as for transformers."""
        self.headers[shard], self.shards[shard], self._contents[shard] = given.raw, given.size, given.content
        data = 8 + len(given.raw)
        for name, dtype, shape, begin, end in entries_of(self.source.where(shard), given.raw, given.size):
            if name in self.tensors:
                self._replaced[name] = self.tensors.pop(name).shard
            self.tensors[name] = TensorInfo(name, shard, dtype, shape, data + begin, data + end)

    def raw(self, name: str, row: int | None = None) -> bytearray:
        """The bytes of a tensor, or of one row along its first axis.

        Raises:
            UserError: the checkpoint has no such tensor, or the shard is gone, cannot be read or ends early.
        """
        info = self._info(name)
        size = info.bytes if row is None else info.bytes // info.shape[0]
        data = bytearray(size)
        try:
            with self.source.open(info.shard) as file:
                file.seek(info.begin + (row or 0) * size)
                read = file.readinto(data)
        except OSError as error:  # whoever reads a shard may be writing another file, which has not failed
            where = self.source.where(info.shard)
            raise UserError(f"{where} cannot be read: {error.strerror}; fetch that shard again") from error
        if read != size:
            raise UserError(f"{self.source.where(info.shard)} ends within {name}; fetch that shard again")
        return data

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor of the model.

        Raises:
            UserError: the checkpoint has no such tensor, or has it quantised in a shape that its format does not have.
        """
        try:
            return logical_shape(self.form, self.headers_of(name))
        except ValueError:  # of unpacking the axes
            raise UserError(
                f"{self.folder}: {name} is stored with another number of axes than its format has; fetch it again"
            ) from None

    def headers_of(self, name: str) -> dict[str, TensorInfo]:
        """The stored tensors of a tensor of the model, by suffix.

        Raises:
            UserError: the checkpoint has no such tensor.
        """
        if name not in self.logical:
            raise UserError(f"{self.folder}: tensor {name} is missing; fetch the checkpoint again")
        return {suffix: self.tensors[stored] for suffix, stored in self.logical[name].items()}

    def read(self, name: str, row: int | None = None) -> "Tensor":
        """A tensor of the model in its own dtype (float32 where it is quantised), or one row along its first axis.

        Raises:
            UserError: the tensor is missing, or it holds NaN or Inf.
        """
        if self.quantised(name):
            from ream.models.quantization.tensors import read_logical

            return read_logical(self.form, name, self.logical[name], lambda stored: self.read_stored(stored, row))
        return self.read_stored(name, row)

    def quantised(self, name: str) -> bool:
        """Whether a tensor of the model is stored with fewer bits and with scales.

        Raises:
            UserError: the checkpoint has no such tensor, or has it in 8-bit floats without scales.
        """
        headers = self.headers_of(name)
        if self.form is not None and self.form.key in headers:
            return True
        if headers[""].dtype.startswith("F8"):
            raise UserError(
                f"{self.folder}: {name} is {headers[''].dtype} and config.json has no scales for it; dequantise the "
                "checkpoint to bfloat16 first"
            )
        return False

    def read_stored(self, name: str, row: int | None = None) -> "Tensor":
        """A stored tensor in its own dtype, or one row along its first axis.

        Raises:
            UserError: the tensor is missing, or it holds NaN or Inf.
        """
        import torch

        from ream.models.dtypes import DTYPES

        info, data = self._info(name), self.raw(name, row)
        if STORED[info.dtype].bytes > 1 and not is_finite(data, info.dtype):
            raise UserError(f"{self.folder}: {name} holds NaN or Inf; fetch {info.shard} again or repair the model")
        shape = info.shape if row is None else info.shape[1:]
        if not data:  # which frombuffer refuses
            return torch.empty(shape, dtype=DTYPES[info.dtype])
        return torch.frombuffer(data, dtype=DTYPES[info.dtype]).reshape(shape)

    def _info(self, name: str) -> TensorInfo:
        """Where a stored tensor lies."""
        if name not in self.tensors:
            raise UserError(f"{self.folder}: tensor {name} is missing; fetch the checkpoint again")
        return self.tensors[name]

    @property
    def parameters(self) -> int:
        """Number of parameters of the model; scales and zero points of quantised tensors do not count."""
        return sum(math.prod(self.shape(name)) for name in self.logical)

    def digest(self) -> str:
        """SHA-256 over the names, sizes and contents of the shards.

        The contents are represented, for a hub model, by the hashes that the hub has; for a folder, by the bytes
        themselves up to 2 GiB in all, and beyond that by the headers.
        """
        result = hashlib.sha256()
        for shard, size in self.shards.items():
            result.update(f"{shard}\0{size}\0".encode())
            known = self._contents[shard]
            if known is not None:
                result.update(known.encode())
            elif sum(self.shards.values()) > HASHED_BYTES:
                result.update(self.headers[shard])
            else:
                with self.source.open(shard) as file:
                    while block := file.read(1 << 20):
                        result.update(block)
        return result.hexdigest()


def shards_of(checkpoint: Checkpoint, names: Iterable[str]) -> frozenset[str]:
    """File names of the shards in which tensors of the model lie."""
    return frozenset(info.shard for name in names for info in checkpoint.headers_of(name).values())
