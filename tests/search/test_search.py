"""Whole searches on a tiny model: what they write, how they go on, and that their text is disjoint."""

import multiprocessing
import os
import shutil
import signal

import numpy as np
import pytest

from ream.analysis.numbers.pareto import front
from ream.calibration.corpus import read_corpus
from ream.errors import UserError
from ream.recipe.recipe_file import load_recipe
from ream.search import measuring
from ream.search.records import FOUND, TRIALS, read_record, read_trials
from ream.stages import search
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from tests.search.prepared import with_search
from tests.tiny import files


def searched(params, workspace, method="reap", **options):
    """(line, record, trials, files) of a search."""
    line = search.run(params, workspace, StageOptions(method=method, experts=4, **options))
    out = workspace.search(method, 4)
    return line, read_record(out / FOUND), read_trials(out / TRIALS), files(out)


def the_parts_of_the_text_have_nothing_in_common(workspace):
    """Calibration, rank, search and final text."""
    folder = workspace.state("search", "reap", "4") / "text"
    for source in ("a", "b"):
        parts = [workspace.calibration(source), *(folder / f"{source}.{part}.parquet" for part in ("search", "final"))]
        sequences = [[tuple(ids) for ids in read_corpus(path).sequences] for path in parts]
        sequences.append([tuple(ids) for ids in read_corpus(workspace.held_out(source)).sequences])
        assert [len(own) for own in sequences] == [8, 4, 4, 2]
        together = [ids for own in sequences for ids in own]
        assert len(set(together)) == len(together)


def test_a_search_writes_its_trials_its_front_and_recipes(prepared):
    params, workspace = prepared
    params = with_search(params, target="0.8 b + 0.2 a")
    line, record, rows, written = searched(params, workspace, keep_state=True)
    the_parts_of_the_text_have_nothing_in_common(workspace)
    assert line.startswith(f"search reap 4: 8 mixes, {len(record.front)} on the front; on text that it has not seen")
    assert [row.origin for row in rows] == ["even", "single", "single"] + ["found"] * 5
    assert [row.sequences for row in rows[:3]] == [4, 4, 4], "known mixes are never stopped"
    assert sorted(row.sequences for row in rows[3:6]) == [2, 4, 4] or sorted(row.sequences for row in rows[3:6]) == [
        2, 2, 4
    ]  # fmt: skip
    whole = [row for row in rows if row.sequences == 4]
    values = np.array([[row.values[name] for name in ("a", "b")] for row in whole])
    on_front = {tuple(own) for own, member in zip(values, front(-values), strict=True) if member}
    assert {tuple(row.values.values()) for row in rows if row.front} == on_front
    assert all(sum(row.ratios.values()) == pytest.approx(1) for row in rows)
    for mix in record.front:
        recipe = load_recipe(workspace.search("reap", 4) / mix.recipe)
        assert recipe.facts["ratios"] == pytest.approx(mix.ratios)
        assert recipe.facts["mix"] == mix.name
        assert mix.final["a"].low <= mix.final["a"].value <= mix.final["a"].high
    best = min(whole, key=lambda row: 0.2 * row.values["a"] + 0.8 * row.values["b"])
    assert record.target.search == pytest.approx(0.2 * best.values["a"] + 0.8 * best.values["b"])
    chosen = next(mix for mix in record.mixes if mix.name == record.target.mix)
    assert chosen.search == best.values
    assert record.target.final.value == pytest.approx(0.2 * chosen.final["a"].value + 0.8 * chosen.final["b"].value)
    assert {name.split("/")[0] for name in written} == {TRIALS, FOUND, "recipes", "figures"}
    assert sum(name.endswith(".svg") for name in written) == 3, "no triangle of two sources"


def killed(params, workspace, after):
    """A search that dies when it has measured so many batches."""
    measured, done = measuring.measured_rows, []

    def dying(*arguments):
        done.append(1)
        if len(done) > after:
            os.kill(os.getpid(), signal.SIGKILL)
        return measured(*arguments)

    measuring.measured_rows = dying
    search.run(params, workspace, StageOptions(method="reap", experts=4))


@pytest.mark.slow
def test_a_killed_search_ends_with_the_same_files(prepared, tmp_path):
    params, workspace = prepared
    whole = Workspace(tmp_path / "whole")
    shutil.copytree(workspace.root, whole.root)
    expected = searched(params, whole)[3]
    process = multiprocessing.get_context("fork").Process(target=killed, args=(params, workspace, 2))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (workspace.state("search", "reap", "4") / "batch-0.safetensors").exists()
    assert searched(params, workspace)[3] == expected


@pytest.mark.slow
def test_other_settings_begin_anew_or_are_refused(prepared):
    params, workspace = prepared
    searched(params, workspace, keep_state=True)
    other = with_search(params, seed=1)
    with pytest.raises(UserError, match=r"holds a search with other settings: search\.seed"):
        searched(other, workspace, discard_stale=False)
    more = searched(with_search(params, trials=9), workspace, discard_stale=False, keep_state=True)[2]
    assert len(more) == 9, "more trials go on"
    assert len(searched(other, workspace)[2]) == 8


def test_too_little_text_is_refused_before_anything_is_measured(prepared):
    params, workspace = prepared
    with pytest.raises(UserError, match=r"source 'a' has text for \d+ sequences beside the 8 of its calibration"):
        searched(with_search(params, sequences=60), workspace)


def test_a_helper_needs_a_search(prepared):
    params, workspace = prepared
    with pytest.raises(UserError, match="has no search to help with"):
        searched(params, workspace, worker=1)


@pytest.mark.slow
def test_two_processes_share_the_trials(prepared):
    """Mixes at random do not depend on who measures which batch, so the trials are those of one process."""
    params, workspace = prepared
    _, apart, alone, _ = searched(params, workspace)
    _, shared, both, _ = searched(with_search(params, workers=2, batch=3), workspace)
    assert [row.ratios for row in both] == [row.ratios for row in alone]
    assert [row.values for row in both[:3]] == [row.values for row in alone[:3]]
    final = {mix.trial: mix.final["a"].value for mix in shared.mixes}
    assert {mix.trial for mix in apart.mixes if not mix.front} <= set(final), "known mixes are always measured"
    assert all(mix.final["a"].value == pytest.approx(final[mix.trial]) for mix in apart.mixes if mix.trial in final)


@pytest.mark.slow
def test_a_sequential_method_searches_on_its_relative_and_makes_the_front(prepared):
    params, workspace = prepared
    _, record, _, _ = searched(with_search(params, trials=4, candidates=2), workspace, method="ream")
    assert record.relative
    for mix in record.front:
        recipe = load_recipe(workspace.search("ream", 4) / mix.recipe)
        assert recipe.facts["composition"]["sequential"]
        assert mix.made["a"].value > 0
        assert mix.made["a"].value != mix.final["a"].value, "one measures the relative, the other what was made"


@pytest.mark.slow
def test_divergence_from_the_original_can_be_the_objective(prepared):
    params, workspace = prepared
    _, record, rows, _ = searched(with_search(params, measure="kl", trials=4), workspace)
    assert record.original == {}
    assert all(0 < value < 5 for row in rows for value in row.values.values())
