"""Where the shards of a checkpoint come from: a folder, or (`ream.models.storage.hub`) the hub, as they are needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from ream.errors import UserError


@dataclass(frozen=True)
class Header:
    """The start of a shard.

    Attributes:
        raw: the JSON that describes its tensors, as it lies in the file.
        size: of the whole file in bytes.
        content: a hash of the file that the source knows without reading it; None where it knows none.
    """

    raw: bytes
    size: int
    content: str | None = None


class ShardSource(Protocol):
    """The files of a checkpoint. All but the shards lie in ``folder``."""

    @property
    def folder(self) -> Path: ...

    def has(self, shard: str) -> bool:
        """Whether there is such a file."""
        ...

    def headers(self, shards: Sequence[str]) -> list[Header]:
        """The headers of shards, in their order.

        Raises:
            UserError: a shard is missing, truncated or corrupt, or cannot be reached.
        """
        ...

    def open(self, shard: str) -> BufferedReader:
        """A shard to read from; fetched if need be."""
        ...

    def where(self, shard: str) -> str:
        """The shard's name for messages."""
        ...

    def drop(self, shard: str) -> None:
        """The shard is not needed for now: what was fetched of it may go."""
        ...

    def whole(self) -> Path:
        """A folder that has the shards, too."""
        ...


@dataclass(frozen=True)
class LocalShards:
    """Shards in a folder, which stay as they are."""

    folder: Path

    def has(self, shard: str) -> bool:
        return (self.folder / shard).exists()

    def headers(self, shards: Sequence[str]) -> list[Header]:
        return [local_header(self.folder / shard) for shard in shards]

    def open(self, shard: str) -> BufferedReader:
        return open(self.folder / shard, "rb")

    def where(self, shard: str) -> str:
        return str(self.folder / shard)

    def drop(self, shard: str) -> None:
        pass

    def whole(self) -> Path:
        return self.folder


def local_header(path: Path) -> Header:
    """The header of a file.

    Raises:
        UserError: it is missing or truncated.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; fetch that shard again")
    with open(path, "rb") as file:

        def read(begin: int, end: int) -> bytes:
            file.seek(begin)
            return file.read(end - begin)

        size = path.stat().st_size
        return Header(read_header(str(path), size, read), size)


def read_header(where: str, size: int, read: Callable[[int, int], bytes]) -> bytes:
    """The JSON at the start of a safetensors file.

    Args:
        where: the file's name. size: its bytes.
        read: gives its bytes from one position to another.

    Raises:
        UserError: the file is shorter than it says.
    """
    length = int.from_bytes(read(0, 8), "little")
    if length > size - 8:
        raise broken(where, size)
    return read(8, 8 + length)


def broken(where: str, size: int) -> UserError:
    """The error for a shard that is not whole."""
    return UserError(f"{where} is truncated or corrupt ({size} bytes); fetch that shard again")
