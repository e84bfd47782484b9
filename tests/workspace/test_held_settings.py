"""A stage leaves no result that was made with other settings than the params file has when it ends.

DVC records what the file says then: a mix changed during a walk was recorded as what the walk had used.
"""

import json
import threading
import time

import pytest
import yaml

from ream.errors import UserError
from ream.params import load_params
from ream.workspace import held_settings
from ream.workspace.held_settings import ChangedError, check_written, discarding, held, own_entries
from tests import tiny

ENTRIES = [("mixes", "balanced"), ("grouping", "group_size", "4"), ("statistics",)]


@pytest.fixture
def path(tmp_path):
    return tiny.write_params(tmp_path / "settings")


def change(path, mix, ratios):
    tree = yaml.safe_load(path.read_text())
    tree["mixes"][mix] = ratios
    path.write_text(yaml.safe_dump(tree))


def hold(path, tmp_path):
    return held(path, load_params(path), ENTRIES, "sequential@balanced-ream-4", tmp_path / "ran-with.json")


def test_what_the_stage_ran_with_is_recorded(path, tmp_path):
    with hold(path, tmp_path):
        pass
    recorded = json.loads((tmp_path / "ran-with.json").read_text())
    assert recorded["mixes.balanced"] == {"a": 0.5, "b": 0.5}
    assert recorded["statistics"] == {"probes": 100}


def test_an_own_entry_that_changed_discards_the_result(path, tmp_path):
    results = [tmp_path / "recipe", tmp_path / "folder" / "file"]

    def work():
        with discarding([results[0], results[1].parent]), hold(path, tmp_path):
            for result in results:
                result.parent.mkdir(exist_ok=True)
                result.write_text("a result")
            change(path, "balanced", {"a": 0.95, "b": 0.5})

    with pytest.raises(ChangedError) as error:
        work()
    assert str(error.value) == (
        f"{path} changed while sequential@balanced-ream-4 ran (mixes.balanced.a 0.5 → 0.95); its result was "
        "discarded, run again"
    )
    assert not any(result.exists() for result in results)
    assert not results[1].parent.exists()


def test_another_entry_may_change(path, tmp_path):
    with discarding([tmp_path / "recipe"]), hold(path, tmp_path):
        (tmp_path / "recipe").write_text("a result")
        change(path, "leaning", {"a": 0.1, "b": 0.9})
    assert (tmp_path / "recipe").exists()


def test_a_file_that_cannot_be_read_at_the_end_discards_the_result(path, tmp_path):
    with pytest.raises(ChangedError, match="cannot be read now"), hold(path, tmp_path):
        path.write_text("mixes: [")


def test_an_error_of_the_stage_discards_nothing(path, tmp_path):
    (tmp_path / "earlier").write_text("an earlier result")
    with pytest.raises(UserError, match="bad input"), discarding([tmp_path / "earlier"]), hold(path, tmp_path):
        raise UserError("bad input")
    assert (tmp_path / "earlier").exists()


def test_a_running_stage_stops_soon_after_the_change(path, tmp_path, monkeypatch):
    monkeypatch.setattr(held_settings, "LOOK_SECONDS", 0.05)
    threading.Timer(0.2, change, (path, "balanced", {"a": 0.95, "b": 0.5})).start()
    started = time.monotonic()

    def work():
        with hold(path, tmp_path):
            while time.monotonic() - started < 30:
                time.sleep(0.01)

    with pytest.raises(ChangedError, match=r"it was stopped, run again"):
        work()
    assert time.monotonic() - started < 20


def test_a_change_that_is_taken_back_at_once_stops_nothing(path, tmp_path, monkeypatch):
    monkeypatch.setattr(held_settings, "LOOK_SECONDS", 0.3)
    text = path.read_text()
    with hold(path, tmp_path):
        change(path, "balanced", {"a": 0.95, "b": 0.5})
        time.sleep(0.35)
        path.write_text(text)
        time.sleep(1)


def test_an_interrupt_by_hand_stays_one(path, tmp_path):
    with pytest.raises(KeyboardInterrupt), hold(path, tmp_path):
        raise KeyboardInterrupt


def test_entries_that_are_not_written(path):
    tree = yaml.safe_load(path.read_text())
    tree["grouping"] = {"group_size": 8}
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(UserError, match=r"has no grouping\.group_size\.4, .* a table from experts to C"):
        check_written(path, ENTRIES)
    with pytest.raises(UserError, match=r"has no calibration\.seeds"):
        check_written(path, [("calibration", "seeds")])
    check_written(path, [("calibration", "seed"), ("mixes", "balanced")])
    assert own_entries(load_params(path), [("grouping", "group_size", "4")]) == {"grouping.group_size.4": None}
