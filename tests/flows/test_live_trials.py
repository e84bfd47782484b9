"""The table of trials of a search that runs."""

import subprocess
import sys

from flows import live_trials
from flows.graph import Stage
from flows.live_trials import LiveTrials, live_path
from flows.output_rows import rows_of
from ream.search.records import LIVE, MixRecord, SearchRecord, TrialRow, write_record, write_trials

STAGE = Stage("search@reap-16", "ream stage search --method reap --experts 16", (), ("artifacts/search/reap/16",))
OTHER = Stage("rank@even", "ream stage rank --mix even", (), ("artifacts/rank/even.json",))


def row(number, front):
    values = {"a": 1.23456, "b": 2.0}
    return TrialRow(
        trial=number, mix="even", origin="even", ratios={"a": 0.5, "b": 0.5}, sequences=4, values=values, front=front
    )


def test_trials_are_shown_when_they_change(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(live_trials, "create_table_artifact", lambda *given: shown.append(given))
    trials, path = LiveTrials(STAGE, tmp_path), tmp_path / "artifacts/.state/search-reap-16" / LIVE
    trials.show()
    assert shown == [], "nothing is there yet"
    write_trials(path, [row(0, True)])
    trials.show()
    trials.show()
    assert len(shown) == 1
    rows, key, _ = shown[0]
    assert rows == [{"trial": 0, "mix": "even", "sequences": 4, "a": 1.2346, "b": 2.0, "front": "yes"}]
    assert key == "trials-search-reap-16"
    write_trials(path, [row(0, True), row(1, False)])
    trials.show()
    assert [each["front"] for each in shown[1][0]] == ["yes", "no"]


def test_other_stages_have_no_trials(tmp_path):
    assert live_path(OTHER, tmp_path) is None
    LiveTrials(OTHER, tmp_path).show()


def test_a_finished_search_has_a_row_for_each_mix_of_its_front(tmp_path):
    mix = MixRecord(
        trial=3, name="reap-16-1", written="0.5:0.5", origin="found", ratios={"a": 0.5, "b": 0.5}, front=True,
        search={"a": 1.0, "b": 2.0}, final={"a": {"value": 1.1}, "b": {"value": 2.1}}, scores={"mc": 55.5},
    )  # fmt: skip
    record = SearchRecord(
        method="reap", relative=False, experts=16, sources=["a", "b"], objectives=["a", "b"], measure="loss", trials=4,
        seed=0, sequences=(4, 4), mixes=[mix, mix.model_copy(update={"front": False})],
    )  # fmt: skip
    write_record(tmp_path / "search.json", record)
    assert list(rows_of("search", tmp_path)) == [
        {"": "reap-16-1", "a": 0.5, "b": 0.5, "a, unseen": 1.1, "b, unseen": 2.1, "mc": 55.5}
    ]


def test_to_read_trials_does_not_import_pandas(tmp_path):
    """The flow's process would spend a second on it while a search runs."""
    write_trials(tmp_path / LIVE, [row(0, True)])
    code = "import sys; from pathlib import Path; from ream.search.records import read_trials; "
    code += f"assert len(read_trials(Path({str(tmp_path / LIVE)!r}))) == 1; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
