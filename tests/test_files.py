"""Folders that are there whole or not at all."""

import errno
import os

import pytest

from ream.errors import UserError
from ream.files import building


def test_a_folder_takes_the_place_of_what_was_there(tmp_path):
    out = tmp_path / "parent" / "out"
    for content in ("old", "new"):
        with building(out) as folder:
            (folder / content).write_text(content)
            assert folder.parent == out.parent, "a rename within one file system"
            assert not (out / content).exists()
    assert [path.name for path in out.iterdir()] == ["new"]
    assert os.listdir(out.parent) == ["out"]


def interrupted(out, error):
    with building(out) as folder:
        (folder / "half").touch()
        raise error


def test_what_fails_leaves_the_folder_as_it_was(tmp_path):
    out = tmp_path / "out"
    with building(out) as folder:
        (folder / "old").touch()
    with pytest.raises(KeyboardInterrupt):
        interrupted(out, KeyboardInterrupt())
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(out) == ["old"]


def test_a_full_disk_is_one_line_and_another_error_stays_what_it_is(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(UserError, match=r"out cannot be written: No space left on device; free space"):
        interrupted(tmp_path / "out", full)
    with pytest.raises(FileNotFoundError):
        interrupted(tmp_path / "out", FileNotFoundError())
    assert os.listdir(tmp_path) == []
