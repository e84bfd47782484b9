"""Sources of a checkpoint's shards: a folder, or the hub (`ream.models.storage.hub`), which gives them on demand."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from ream.errors import UserError
from ream.models.storage.shard_header import read_header
from ream.models.storage.shard_names import shard_path


@dataclass(frozen=True)
class Header:
    """The start of a shard.

    Attributes:
        raw: the JSON that describes its tensors, byte for byte.
        size: of the whole file, in bytes.
        content: a hash of the file that the source has without reading it; None where it has none.
    """

    raw: bytes
    size: int
    content: str | None = None


class ShardSource(Protocol):
    """The files of a checkpoint; all but the shards lie in ``folder``."""

    @property
    def folder(self) -> Path:
        """The folder of all files but the shards."""
        ...

    def has(self, shard: str) -> bool:
        """Whether there is such a shard."""
        ...

    def headers(self, shards: Sequence[str]) -> list[Header]:
        """The headers of shards, in their order.

        Raises:
            UserError: a shard is missing, truncated or corrupt, or cannot be reached.
        """
        ...

    def open(self, shard: str) -> BufferedReader:
        """A shard to read from, fetched where it is missing."""
        ...

    def where(self, shard: str) -> str:
        """The shard's name for messages."""
        ...

    def drop(self, shard: str) -> None:
        """Say that a shard is not needed for now, so that a fetched copy may be removed."""
        ...

    def whole(self) -> Path:
        """A folder that has all files, shards among them."""
        ...


@dataclass(frozen=True)
class LocalShards:
    """Shards in a folder, which is never changed (`ShardSource`)."""

    folder: Path

    def has(self, shard: str) -> bool:
        """Whether the folder has such a file."""
        return (self.folder / shard).exists()

    def headers(self, shards: Sequence[str]) -> list[Header]:
        """The headers of shards, in their order.

        Raises:
            UserError: see `shard_path` and `local_header`.
        """
        return [local_header(shard_path(self.folder, shard)) for shard in shards]

    def open(self, shard: str) -> BufferedReader:
        """A shard to read from."""
        return open(shard_path(self.folder, shard), "rb")

    def where(self, shard: str) -> str:
        """The shard's path."""
        return str(self.folder / shard)

    def drop(self, shard: str) -> None:
        """Do nothing: nothing was fetched."""

    def whole(self) -> Path:
        """The folder."""
        return self.folder


def local_header(path: Path) -> Header:
    """The header of a safetensors file.

    Raises:
        UserError: the file is missing, is not a regular file or cannot be read, or see `read_header`.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; fetch that shard again")
    if not path.is_file():  # opening a pipe would wait for a writer
        raise UserError(f"{path} is not a regular file; put the shard in its place")
    try:
        with open(path, "rb") as file:

            def read(begin: int, end: int) -> bytes:
                file.seek(begin)
                return file.read(end - begin)

            size = path.stat().st_size
            return Header(read_header(str(path), size, read), size)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; fetch that shard again") from error
