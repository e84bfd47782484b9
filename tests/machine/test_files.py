"""Folders that are there whole or not at all."""

import errno
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ream.errors import UserError
from ream.machine.files import building, claimed, locked, read_json, read_table, replacing
from tests.models.storage.strangers import within
from tests.models.storage.test_checkpoint import refused


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


@pytest.mark.parametrize("write", [replacing, building, locked, claimed])
@pytest.mark.parametrize("below", ["file/new", "file/folder/new"])
def test_a_place_below_a_file_is_one_line(write, below, tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be written: .*; free space or choose another folder"):  # noqa: SIM117
        with write(tmp_path / below):
            pass
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_system_that_is_only_read_is_one_line(tmp_path, monkeypatch):
    def refused(path, *given, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "touch", refused)
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(UserError, match="cannot be written: Read-only file system"), replacing(tmp_path / "new"):
        pass


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


NO_JSON = {
    "a number of 100,000 digits": '{"a": ' + "7" * 100_000 + "}",
    "nested lists": "[" * 1_000_000,
    "nested objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "cut": '{"a": ',
    "not UTF-8": b"\xff",
    "nothing": "",
}


@pytest.mark.parametrize("case", NO_JSON)
@pytest.mark.parametrize("read", [read_json, read_table])
def test_what_is_not_json_is_a_line(read, case, tmp_path):
    path, text = tmp_path / "x.json", NO_JSON[case]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with within(5):
        refused(lambda: read(path), str(path), "is not valid JSON")


def test_what_is_no_file_is_a_line(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with within(5):
        for name in ("folder", "pipe"):
            refused(lambda name=name: read_json(tmp_path / name), name, "is not a regular file")
        refused(lambda: read_json(tmp_path / "loop"), "loop", "cannot be read")
        refused(lambda: read_json(tmp_path / "none"), "none", "does not exist")


def test_a_table_that_could_not_be_written_again_is_refused(tmp_path):
    """Writing nests as reading does, in Python and deeper, and UTF-8 has no halves of a surrogate pair."""
    path = tmp_path / "x.json"
    for levels, read in ((99, True), (100, False), (900, False)):
        path.write_text('{"a": ' + "[" * levels + "]" * levels + "}")
        if read:
            assert list(read_table(path)) == ["a"]
        else:
            refused(lambda: read_table(path), str(path), "nested more than 100 levels deep")
    path.write_text('{"\\ud83d\\ude00": "\\ud83d"}')
    refused(lambda: read_table(path), str(path), "half of a surrogate pair")
    path.write_text('{"a": "\\ud83d\\ude00"}')
    assert read_table(path) == {"a": "😀"}
