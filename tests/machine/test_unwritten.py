"""Which file is named when an error ends the writing of another."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from ream.errors import UserError
from ream.machine.files import building, replacing
from ream.machine.unwritten import check_replaceable, not_written

LOST = os.strerror(errno.ENOENT)


@pytest.mark.parametrize(
    "failed", ["m/model.safetensors", b"m/model.safetensors", Path("m/model.safetensors"), "out2/x", ".other.tmp"]
)
def test_another_file_is_named_with_its_own_reason(failed):
    line = str(not_written(Path("out"), FileNotFoundError(errno.ENOENT, LOST, failed)))
    assert line == f"{os.fsdecode(failed)}: {LOST}; out was not written: put that file right first"


@pytest.mark.parametrize("failed", [None, 7, "a/out", "a/out/x/y", "a/.out.partial/x", "a/.out.123.tmp", "a", "/"])
def test_the_output_is_named_where_it_failed_itself(failed):
    line = str(not_written(Path("a/out"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), failed)))
    assert line == "a/out cannot be written: No space left on device; free space or choose another folder"


def test_a_copy_onto_a_full_disk_does_not_blame_what_it_reads():
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "m/LICENSE", None, "a/.out.partial/LICENSE")
    assert str(not_written(Path("a/out"), error)).startswith("a/out cannot be written: No space left on device; free")


def test_what_safetensors_says_is_kept():
    line = str(not_written(Path("out"), SafetensorError("I/O error: No space left (os error 28)")))
    assert line == "out cannot be written: I/O error: No space left (os error 28); free space or choose another folder"


@pytest.mark.parametrize("writing", [replacing, building])
def test_a_block_that_reads_another_file(tmp_path, writing):
    other = tmp_path / "source" / "tokenizer.json"
    refusing = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(other))
    with pytest.raises(UserError) as refused, writing(tmp_path / "out"):
        raise refusing
    assert str(refused.value).startswith(f"{other}: Permission denied; {tmp_path / 'out'} was not written")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_replaced_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    for name in ("file", "new", "a/b/new"):
        check_replaceable(tmp_path / name)
    for name, what in (
        ("folder", "folder is a folder; name a file to write"),
        ("pipe", "pipe is not a regular file; name a file"),
        ("file/new", "file is not a folder; choose another file"),
        ("a/" + "n" * 300, "cannot be written: File name too long"),
    ):
        with pytest.raises(UserError, match=what):
            check_replaceable(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
