"""Interruptions, too little memory and failed files end in one line that says what to do, with the customary codes."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from ream.commands.ending import GOES_ON, ending, noting
from tests import tiny
from tests.commands.test_cli import compress, model, one_line, params, ream  # noqa: F401 - fixtures
from tests.subsets import some_slow


def raised(action):
    """The error that an action raises."""
    try:
        action()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - of any kind
        return error
    raise AssertionError("nothing was raised")


def deep(level=0):
    return deep(level + 1)


def test_memory():
    advice = "lower compute.batch_tokens or calibration.sequences, in an evaluation evaluation.batch_size"
    line, code = ending(raised(lambda: np.empty(1 << 60, dtype=np.uint8)))
    assert (line.startswith("out of memory (Unable to allocate 1.00 EiB for an array"), code) == (True, 2)
    assert advice in line
    line, code = ending(raised(lambda: torch.empty(1 << 60, dtype=torch.uint8)))
    assert (line.startswith("out of memory ("), "\n" in line, code) == (True, False, 2)
    line, _ = ending(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1 GiB\nmore"))
    assert line.startswith("out of memory (CUDA out of memory); lower")
    assert ending(MemoryError())[0].startswith("out of memory; lower")


def test_recursion():
    line, code = ending(raised(deep))
    assert line.startswith(
        "an input is nested too deeply to be read (in an unknown place); look at the model's config.json"
    )
    assert code == 2
    from ream.commands.ending import _place

    assert _place(raised(lambda: tiny_reader("no file"))) == "ream.machine.files.file_digest"


def tiny_reader(path):
    from ream.machine.files import file_digest

    return file_digest(path)


def test_files_keep_their_own_cause(tmp_path):
    line, code = ending(raised((tmp_path / "none" / "x").read_bytes))
    assert (line, code) == (f"{tmp_path / 'none' / 'x'}: No such file or directory", 2)
    assert ending(raised(lambda: os.rename(tmp_path / "a", tmp_path / "b")))[0] == (
        f"{tmp_path / 'a'} and {tmp_path / 'b'}: No such file or directory"
    )
    assert ending(OSError(errno.EIO, os.strerror(errno.EIO)))[0] == "Input/output error"
    assert ending(OSError("the hub is away"))[0] == "the hub is away"


def test_interruptions_carry_the_notes():
    def interrupted():
        with noting(GOES_ON), noting(GOES_ON):
            raise KeyboardInterrupt

    assert ending(raised(interrupted)) == (f"interrupted; {GOES_ON}", 130)
    assert ending(KeyboardInterrupt()) == ("interrupted", 130)


@pytest.mark.parametrize("bug", [ValueError("x"), RuntimeError("x"), AssertionError(), KeyError("x")])
def test_bugs_keep_their_traceback(bug):
    assert ending(bug) is None


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (MemoryError(), 2, "error: out of memory; lower"),
        (OSError(errno.EIO, "Input/output error", "shard"), 2, "error: shard: Input/output error"),
    ],
)
@pytest.mark.parametrize("finished", some_slow([0, 2], keep=[2]))
def test_a_run_that_ends_early(ream, model, params, tmp_path, monkeypatch, error, code, line, finished):  # noqa: F811
    """In the third layer, or in the first; only the former has something to go on from."""
    from ream.compress.sequential import SequentialCompressor

    visited, run = [], SequentialCompressor.__call__

    def failing(self, visit):
        visited.append(visit.index)
        if len(visited) == finished + 1:
            raise error
        return run(self, visit)

    with monkeypatch.context() as patched:
        patched.setattr(SequentialCompressor, "__call__", failing)
        answer = ream(*compress(model, "out", params))
    assert answer[0] == code
    last = answer[2].strip().splitlines()[-1]
    assert last.startswith(line)
    assert last.endswith(GOES_ON) == bool(finished)
    assert "Traceback" not in answer[2]
    assert (tmp_path / ".out.ream").exists() == bool(finished)
    error.__notes__ = []
    assert ream(*compress(model, "out", params))[0] == 0


@pytest.mark.slow
def test_ctrl_c_ends_a_process_with_130(model, params, tmp_path):  # noqa: F811
    program = (
        "import sys, time, ream.stages.model as stage\nfrom ream.commands import cli\n"
        "stage.run = lambda *_: (print('up', flush=True), time.sleep(60))\ncli.main()"
    )
    command = [sys.executable, "-c", program, *map(str, compress(model, tmp_path / "out", params))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said.strip().splitlines()[-1]) == (130, "error: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_a_file_beside_the_shards_is_named_if_it_is_lost(ream, model, params, tmp_path, monkeypatch):  # noqa: F811
    from ream.recipe import output

    copy, write = tiny.damaged(model, tmp_path / "copy"), output.write_shard

    def losing(*given):
        (copy / "tokenizer.json").unlink(missing_ok=True)
        return write(*given)

    with monkeypatch.context() as patched:
        patched.setattr(output, "write_shard", losing)
        answer = ream(*compress(copy, "out", params, "--method", "reap"))
    lost = copy / "tokenizer.json"
    one_line(answer, f"{lost}: No such file or directory; out was not written: put that file right first")
    assert not (tmp_path / "out").exists()


def test_a_lost_shard_of_the_original_is_named_while_the_output_is_written(ream, model, params, tmp_path, monkeypatch):  # noqa: F811
    """Not the output, and no word about free space."""
    from ream.recipe import output

    shards = tiny.damaged(model, tmp_path / "copy")
    lost, write = sorted(shards.glob("*.safetensors"))[-1], output.write_shard

    def losing(*given):
        lost.unlink(missing_ok=True)
        return write(*given)

    with monkeypatch.context() as patched:
        patched.setattr(output, "write_shard", losing)
        answer = ream(*compress(shards, "out", params, "--method", "reap"))
    one_line(answer, f"{lost} cannot be read: No such file or directory; fetch that shard again")
    assert not (tmp_path / "out").exists()
