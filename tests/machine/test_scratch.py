"""Scratch folders: removed at the end, or at the next start if their run was killed, and never while it lives."""

import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from ream.errors import UserError
from ream.machine.files import locked
from ream.machine.scratch import remove_abandoned, scratch, without_workspace
from tests.graphs import ROOT

HOLD = """import sys, time
from pathlib import Path
from ream.machine.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text("large")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def parent(tmp_path):
    return tmp_path / "artifacts" / ".state" / "scratch"


def held_by_another(parent):
    """A process that has a scratch folder, and the folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(parent)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_new_and_gone_afterwards(parent):
    with scratch(parent) as one, scratch(parent) as two:
        assert one != two
        assert one.parent == two.parent == parent
        (one / "file").write_text("x")
    assert os.listdir(parent) == ["lock"]
    with pytest.raises(KeyError), scratch(parent):
        raise KeyError
    assert os.listdir(parent) == ["lock"]


@pytest.mark.parametrize("start", [remove_abandoned, lambda parent: scratch(parent).__enter__()])
def test_the_next_start_removes_what_a_killed_run_left_and_nothing_else(parent, start):
    dead, left = held_by_another(parent)
    living, kept = held_by_another(parent)
    with dead, living:
        assert (left / "model" / "weights").exists()
        remove_abandoned(parent)
        assert left.exists(), "its run lives"
        with pytest.raises(UserError, match="in use by another run"), locked(left):
            pass
        dead.kill()
        dead.wait()
        assert left.exists()
        start(parent)
        assert not left.exists()
        assert (kept / "model" / "weights").exists()
        living.kill()
    remove_abandoned(parent)
    assert [name for name in os.listdir(parent) if not (parent / name / "lock").exists()] == ["lock"]


def test_many_starts_at_once_do_not_take_each_others_folders(parent):
    lost = []

    def work():
        for _ in range(10):
            with scratch(parent) as folder:
                (folder / "file").touch()
                remove_abandoned(parent)
                lost.extend([folder] if not (folder / "file").exists() else [])

    threads = [threading.Thread(target=work) for _ in range(4)]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
    assert lost == []
    assert os.listdir(parent) == ["lock"]


def test_without_any_run_nothing_is_made(parent):
    remove_abandoned(parent)
    assert not parent.exists()


def test_commands_without_a_workspace_have_a_place_in_the_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert without_workspace() == tmp_path / "ream" / "scratch"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert without_workspace() == Path("/home/someone/.cache/ream/scratch")
