"""The text of a search, drawn once by the processes that share it."""

import contextlib
import threading
import time

import pytest

from ream.calibration.corpus import read_corpus
from ream.models.inspection.manifest import folder_of
from ream.search import texts
from ream.search.held import Held
from ream.search.texts import drawn_texts
from ream.workspace.original import open_original


@pytest.fixture
def draw(prepared, tmp_path):
    """Draws into a folder."""
    params, workspace = prepared
    original = open_original(workspace, keep_shards=True)

    def drawn(name):
        return drawn_texts(
            params, folder_of(original.manifest), original.limits, workspace.calibration, tmp_path / name
        )

    return drawn


def sequences(parts):
    return {name: part.sequences for name, part in parts.items()}


def test_two_processes_draw_one_source_each(draw, tmp_path, monkeypatch):
    """One that finds a source taken draws the next, and then waits for the first."""
    monkeypatch.setattr(texts, "LOOK_SECONDS", 0.01)
    expected = sequences(draw("alone"))
    shared = tmp_path / "shared"
    shared.mkdir()
    found = []
    with contextlib.closing(Held.of(shared / "a.lock")):  # as if another process drew it
        thread = threading.Thread(target=lambda: found.append(sequences(draw("shared"))))
        thread.start()
        end = time.monotonic() + 30
        while not (shared / "b.final.parquet").exists() and time.monotonic() < end:
            time.sleep(0.01)
        assert sorted(path.name for path in shared.glob("*.parquet")) == ["b.final.parquet", "b.search.parquet"]
        assert thread.is_alive(), "it waits"
        for part in ("search", "final"):
            (shared / f"a.{part}.parquet").write_bytes((tmp_path / "alone" / f"a.{part}.parquet").read_bytes())
        written = (shared / "a.final.parquet").stat().st_mtime_ns
    thread.join(30)
    assert found == [expected]
    assert (shared / "a.final.parquet").stat().st_mtime_ns == written, "drawn once"


def test_what_a_killed_process_left_is_drawn_again(draw, tmp_path):
    expected = sequences(draw("alone"))
    (tmp_path / "alone" / "a.final.parquet").unlink()
    assert sequences(draw("alone")) == expected
    assert read_corpus(tmp_path / "alone" / "a.final.parquet").sequences == expected["final"]["a"]
