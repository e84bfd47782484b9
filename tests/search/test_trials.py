"""The journal of trials: killed processes, half-written lines, and several processes at once."""

import multiprocessing
import os
import signal
import threading

import pytest

from ream.search.journal import JOURNAL, whole_lines
from ream.search.known import PAPER, KnownMix
from ream.search.suggestions import FOUND, Plan, Suggestions
from ream.search.trials import Trials, even_size

KNOWN = [KnownMix("even", PAPER, (0.5, 0.5)), KnownMix("one", PAPER, (1.0, 0.0)), KnownMix("other", PAPER, (0.0, 1.0))]


def plan(trials=11, batch=4, sampler="tpe", seed=0):
    return Plan(("one", "other"), 2, KNOWN, trials, batch, sampler, seed)


def measured(batch):
    """A made-up problem with a front."""
    return {trial.number: [trial.ratios["one"] ** 2, (1 - trial.ratios["one"]) ** 2] for trial in batch}


def done(folder, own, batches=None):
    """All trials and their values, after so many batches or all."""
    trials, sizes = Trials(folder, own), []
    while batches is None or len(sizes) < batches:
        with trials.next_batch() as batch:
            if not batch:
                break
            trials.tell(measured(batch))
            sizes.append([trial.number for trial in batch])
    return trials.all(), trials.told(), sizes


def test_known_mixes_come_first_in_a_batch_of_their_own(tmp_path):
    trials, told, sizes = done(tmp_path, plan())
    assert sizes == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10]]
    assert [trial.name for trial in trials[:3]] == ["even", "one", "other"]
    assert {trial.origin for trial in trials[3:]} == {FOUND}
    assert told[1] == [1.0, 0.0]
    assert len({tuple(trial.ratios.values()) for trial in trials}) == 11, "no mix is tried twice"
    assert all(sum(trial.ratios.values()) == pytest.approx(1) for trial in trials)
    assert Trials(tmp_path, plan()).finished()


def test_fewer_trials_than_known_mixes_try_the_first(tmp_path):
    assert [trial.name for trial in done(tmp_path, plan(trials=2))[0]] == ["even", "one"]


def test_more_trials_go_on(tmp_path):
    few = done(tmp_path, plan(trials=7))[0]
    more = done(tmp_path, plan(trials=11))[0]
    assert more[:7] == few
    assert len(more) == 11


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_seeds_decide(tmp_path, sampler):
    runs = [done(tmp_path / f"{place}", plan(sampler=sampler, seed=seed))[0] for place, seed in enumerate((0, 0, 1))]
    assert runs[0] == runs[1]
    assert runs[0][:3] == runs[2][:3]
    assert runs[0][3:] != runs[2][3:]


@pytest.mark.slow
def test_the_model_based_sampler_finds_the_front(tmp_path):
    """Its mixes dominate more than mixes at random: here every mix is on the front, but copies of corners are not."""
    trials = done(tmp_path, plan(trials=9, batch=2, sampler="gp"))[0]
    assert len({trial.ratios["one"] for trial in trials}) == 9


def killed(folder, at):
    """Work until the batch with that place is being measured, then die."""
    trials = Trials(folder, plan())
    place = 0
    while True:
        with trials.next_batch() as batch:
            if place == at:
                told = measured(batch)
                trials.tell({batch[0].number: told[batch[0].number]})  # one of the batch is told
                os.kill(os.getpid(), signal.SIGKILL)
            trials.tell(measured(batch))
            place += 1


@pytest.mark.parametrize("at", [0, 1])
def test_a_killed_process_leaves_its_batch_to_the_next(tmp_path, at):
    expected = done(tmp_path / "whole", plan())[:2]
    process = multiprocessing.get_context("fork").Process(target=killed, args=(tmp_path / "cut", at))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert done(tmp_path / "cut", plan())[:2] == expected


def test_a_batch_in_work_is_nobody_elses(tmp_path):
    one, other = Trials(tmp_path, plan()), Trials(tmp_path, plan())
    with one.next_batch() as first, other.next_batch() as second:
        assert [trial.number for trial in first] == [0, 1, 2]
        assert [trial.number for trial in second] == [3, 4, 5, 6]
        with Trials(tmp_path, plan(trials=7)).next_batch() as none:
            assert none == []
        assert not one.finished()
        one.tell(measured(first))
        other.tell(measured(second))
    assert done(tmp_path, plan())[2] == [[7, 8, 9, 10]]


def test_an_incomplete_batch_is_completed(tmp_path):
    """As after a kill between two trials of a batch: its other trials are those of an uninterrupted search."""
    expected = done(tmp_path / "whole", plan())[0]
    folder = tmp_path / "cut"
    done(folder, plan(), batches=2)
    with Trials(folder, plan()).next_batch() as batch:
        assert len(batch) == 4
    lines = (folder / JOURNAL).read_bytes().splitlines(keepends=True)
    (folder / JOURNAL).write_bytes(b"".join(lines[:-2]) + lines[-2][:20])
    assert done(folder, plan())[0] == expected


def test_a_half_written_line_is_cut(tmp_path):
    path = tmp_path / "file"
    for text, kept in ((b"one\ntwo\nthr", b"one\ntwo\n"), (b"one\n", b"one\n"), (b"one", b""), (b"", b"")):
        path.write_bytes(text)
        whole_lines(path)
        assert path.read_bytes() == kept
    path.write_bytes(b"one\n" + b"x" * 10_000)
    whole_lines(path)
    assert path.read_bytes() == b"one\n"


def test_two_processes_suggest_at_the_same_time(tmp_path, monkeypatch):
    """Neither waits for the other's suggestions; both get batches of one size, and no mix is tried twice."""
    own = plan(trials=11, batch=5, sampler="random")
    own = Plan(own.sources, own.objectives, own.known, own.trials, own.batch, own.sampler, own.seed, processes=2)
    done(tmp_path, own, batches=2)  # the known mixes, in two batches
    meeting, suggest = threading.Barrier(2, timeout=20), Suggestions.mixes

    def together(*arguments):
        meeting.wait()  # breaks unless both are suggesting
        return suggest(*arguments)

    monkeypatch.setattr(Suggestions, "mixes", together)
    sizes = []

    def work():
        trials = Trials(tmp_path, own)
        with trials.next_batch() as batch:
            sizes.append(sorted(trial.number for trial in batch))
            trials.tell(measured(batch))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(sizes) == [[3, 4, 5, 6], [7, 8, 9, 10]]
    trials = Trials(tmp_path, own)
    assert trials.finished()
    assert len({tuple(trial.ratios.values()) for trial in trials.all()}) == 11
    assert list(tmp_path.glob("claim-*")) == []


def test_what_a_killed_process_was_suggesting_is_suggested_again(tmp_path):
    expected = done(tmp_path / "whole", plan())[:2]
    folder = tmp_path / "cut"
    done(folder, plan(), batches=1)
    (folder / "claim-3-4.lock").touch()  # whose process is gone
    assert done(folder, plan())[:2] == expected
    assert list(folder.glob("claim-*")) == []


def test_sizes_of_batches_are_even():
    assert [even_size(count, 8, 2) for count in (0, 1, 13, 27, 32, 33)] == [1, 1, 7, 7, 8, 6]
    assert [even_size(count, 8, 1) for count in (8, 9, 27)] == [8, 5, 7]
