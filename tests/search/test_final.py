"""Models on the final text: batches that processes share."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from ream.search import final
from ream.search.final import OFFERED, FinalText, withdraw
from ream.search.held import Held

NAMES = [f"trial-{number}" for number in range(7)]
PART = SimpleNamespace(sequences={"a": [[1]] * 4})


@pytest.fixture
def batches(monkeypatch):
    """The batches that are measured: lists of models, which are their numbers here."""
    measured = []

    def rows(ruler, part, models, first, last, note):
        assert (first, last) == (0, 4)
        measured.append((ruler, list(models)))
        return [np.full((1, 4, 3), float(model)) for model in models]

    monkeypatch.setattr(final, "measured_rows", rows)
    monkeypatch.setattr(final, "LOOK_SECONDS", 0.01)
    return measured


def text(folder, processes=1, ruler="main"):
    return FinalText(folder, ruler, PART, batch=3, processes=processes)


def number_of(name):
    return int(name.partition("-")[2])


def values(sums):
    return {name: own.flat[0] for name, own in sums.items()}


def test_one_process_measures_batches_and_finds_them_again(tmp_path, batches):
    models = {name: number_of(name) for name in NAMES}
    sums = text(tmp_path).sums(models, print, shared=True)
    assert values(sums) == models
    assert [models for _, models in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert values(text(tmp_path).sums({"made-x": 9, **models}, print)) == {"made-x": 9, **models}
    assert batches[-1] == ("main", [9])


def test_two_processes_take_batches_of_one_size(tmp_path, batches):
    """The helper waits for what is offered, and the first process for what the helper measures."""
    helper = threading.Thread(target=text(tmp_path, 2, "helper").help, args=(number_of,))
    first = text(tmp_path, 2)
    withdraw(tmp_path)
    helper.start()
    with_lock = Held.of(tmp_path / "final-trial-0.lock")  # as if the helper had it
    release = threading.Timer(0.2, with_lock.close)
    release.start()
    sums = first.sums({name: number_of(name) for name in NAMES}, print, shared=True)
    helper.join()
    release.join()
    assert values(sums) == {name: number_of(name) for name in NAMES}
    assert sorted(models for _, models in batches) == [[0, 1], [2, 3], [4, 5], [6]]


def test_who_has_nothing_to_do_measures_what_is_certain_to_be_wanted(tmp_path, batches):
    first, helper = text(tmp_path, 2), text(tmp_path, 2, "helper")
    assert not first.take(number_of, print), "nothing is offered"
    first.offer(NAMES[:3])
    waiting = threading.Thread(target=helper.help, args=(number_of,))
    with_lock = Held.of(tmp_path / "final-trial-0.lock")  # as if another process had the first batch
    assert first.take(number_of, print)
    assert batches == [("main", [2])]
    assert not first.take(number_of, print), "the other has what is left"
    with_lock.close()
    waiting.start()
    while len(batches) < 2:
        time.sleep(0.01)
    assert batches[1] == ("helper", [0, 1]), "the batch of a process that is gone"
    waiting.join(0.1)
    assert waiting.is_alive(), "more is to come"
    sums = first.sums({name: number_of(name) for name in NAMES}, print, shared=True)
    waiting.join()
    assert values(sums) == {name: number_of(name) for name in NAMES}
    assert sorted(models for _, models in batches[2:]) == [[3, 4], [5, 6]]


def test_one_process_does_one_thing_after_the_other(tmp_path, batches):
    text(tmp_path).offer(NAMES)
    assert not (tmp_path / OFFERED).exists()


def test_what_a_killed_run_has_measured_is_not_offered_again(tmp_path, batches):
    text(tmp_path).sums({name: number_of(name) for name in NAMES[:2]}, print)
    again = text(tmp_path, 2)
    again.offer(NAMES[:3])
    assert again.take(number_of, print)
    assert batches == [("main", [0, 1]), ("main", [2])]
    assert not again.take(number_of, print)


def test_what_is_not_shared_is_not_offered(tmp_path, batches):
    first = text(tmp_path, 2)
    first.sums({"original": 5}, print)
    assert not (tmp_path / OFFERED).exists()
    first.sums({"trial-1": 1}, print, shared=True)
    assert (tmp_path / OFFERED).exists()
    withdraw(tmp_path)
    assert not (tmp_path / OFFERED).exists()


def test_nothing_to_measure(tmp_path, batches):
    assert text(tmp_path).sums({}, print, shared=True) == {}
    assert batches == []
