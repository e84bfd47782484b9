"""Files and folders that cannot be written: what a person is told, and how to know it before the work is done."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError

from ream.errors import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # reading never fails so
CANNOT_WRITE = {*FULL, errno.EACCES, errno.EPERM}


def not_written(path: Path, error: OSError | SafetensorError) -> UserError:
    """What a person is told when an error has ended the writing of a file or folder.

    The error may come from another file, which was read to write this one; then that file is named.

    Args:
        path: what was being written, under this name or a temporary one beside it.
        error: what was raised meanwhile.
    """
    if not isinstance(error, OSError):
        return UserError(f"{path} cannot be written: {error}; free space or choose another folder")
    failed = error.filename  # a copy onto a full disk names the file that it read
    named = isinstance(failed, str | bytes | os.PathLike) and error.errno not in FULL
    if named and not _belongs(Path(os.fsdecode(failed)).absolute(), path.absolute()):
        return UserError(f"{os.fsdecode(failed)}: {error.strerror}; {path} was not written: put that file right first")
    return UserError(f"{path} cannot be written: {error.strerror}; free space or choose another folder")


def _belongs(failed: Path, path: Path) -> bool:
    """Whether a file is a path, a folder above it, or lies in it or in a temporary one beside it."""
    if failed in path.parents:
        return True
    if not failed.is_relative_to(path.parent):
        return False
    first = failed.relative_to(path.parent).parts[0]
    return first == path.name or first.startswith(f".{path.name}.")


def check_replaceable(path: Path) -> None:
    """Refuse a file that `replacing` could not write, before the work whose result it takes; leaves nothing.

    Raises:
        UserError: it is a folder or no regular file, or it cannot be made.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise UserError(f"{path} is {kind}; name a file to write")
    missing = [folder for folder in path.absolute().parents if not folder.exists()]
    above = missing[-1].parent if missing else path.absolute().parent
    if not above.is_dir():
        raise UserError(f"{path} cannot be written: {above} is not a folder; choose another file")
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; choose another file") from None
    finally:
        with suppress(OSError):  # nothing was made
            probe.unlink()
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
