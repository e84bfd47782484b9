"""Folders that are there whole or not at all."""

import errno
import os
import re

import pytest
import torch
from safetensors.torch import save_file

from ream.errors import UserError
from ream.machine.files import building, read_table, replacing


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


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_a_new_file_may_be_read_by_those_whom_the_umask_lets(mask, tmp_path):
    """safetensors gives its files to their owner alone: others could read a model, but not the recipe beside it."""
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "recipe.safetensors") as temporary:
            save_file({"x": torch.ones(2)}, temporary)
        with replacing(tmp_path / "ream.json") as temporary:
            temporary.write_text("{}")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o666 & ~mask}


@pytest.mark.parametrize("text", ["[]", "3", '"words"', "null"])
def test_what_is_no_table_is_refused(text, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} holds a \w+ where an object .* fetch it again$"):
        read_table(path)
