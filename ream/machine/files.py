"""Files and folders that a reader sees whole or not at all, locks on folders, and JSON."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ream.errors import UserError
from ream.machine.documents import MOST_BYTES, parse_json, read_bytes
from ream.machine.unwritten import CANNOT_WRITE, not_written


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that is flushed to disk and takes its place when the block succeeds.

    Raises:
        UserError: the disk is full or the folder cannot be written; ``path`` is then as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode  # as the umask has it; safetensors makes files that only their owner can read
        yield temporary
        with open(temporary, "rb+") as file:
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk by an error of its own
        raise not_written(path, error) from error
    finally:
        with suppress(OSError):  # nothing was made: a folder that is a file, a file system that is only read
            temporary.unlink()


@contextmanager
def building(folder: str | Path) -> Iterator[Path]:
    """A new folder beside ``folder`` that takes its place, whatever it held, when the block succeeds.

    Raises:
        UserError: the disk is full or the folder cannot be written; ``folder`` is then as it was.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise not_written(folder, error) from error
    try:
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(partial, folder)
    except OSError as error:
        if error.errno not in CANNOT_WRITE:  # may come from what the block read
            raise
        raise not_written(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this process alone, by a lock file in it; the folder is made where it is missing.

    The operating system releases the lock when the process ends, however it ends.

    Args:
        folder: to hold.
        wait: whether to wait for another process that holds it.

    Raises:
        UserError: another process holds it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / "lock", "w")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}; free space or choose another folder") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise UserError(f"{folder} is in use by another run; wait for it or choose another output") from None
        yield


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder as `locked` does, but by a lock on the folder itself, which can be renamed while it is held.

    Where the file system has no locks for folders (NFS), nothing is held.

    Raises:
        UserError: another process holds it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise not_written(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            os.close(handle)
            raise UserError(f"{folder} is in use by another run; wait for it or choose another output") from None
    try:
        yield
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Flush a file's content, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove what killed runs left half-written in a folder and below it; only a process that holds it alone may."""
    for path in sorted(folder.rglob(".*.tmp"), reverse=True):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically.

    Raises:
        ValueError: the value holds NaN or an infinity.
        UserError: the file cannot be written.
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_table(path: str | Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """Read a JSON file whose content is an object, such as config.json.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        UserError: see `read_json`, or it is not an object.
    """
    value = read_json(path, most)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} where an object {{…}} is expected; fetch it again")
    return value


def read_json(path: str | Path, most: int = MOST_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        UserError: see `read_bytes` and `parse_json`.
    """
    return parse_json(read_bytes(path, most), str(path))
