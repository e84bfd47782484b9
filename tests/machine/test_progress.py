"""What a stage tells of its progress: a bar, or lines of JSON for the program that runs it."""

import json

import pytest

from ream.machine import progress
from ream.machine.progress import EVENTS, Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def events(tmp_path, monkeypatch):
    path = tmp_path / "events"
    monkeypatch.setenv(EVENTS, str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


def test_layers_speed_and_time_left_by_hand(clock, events, capsys):
    # 4 layers of 3 batches; 600 tokens go through each. 3 batches were done before, 3 more take 2 s: half is done,
    # 1.5 batches or 1.5 / 12 · 4 · 600 = 300 tokens a second, 6 batches or 4 s are left.
    with Progress(12, "walk", "batch", layers=4, tokens=600) as bar:
        bar.skip(3)
        clock.now += 2
        bar.update(3)
    assert events()[-1] == {
        "desc": "walk", "unit": "batch", "total": 12, "done": 6, "elapsed": 2.0, "eta": 4.0,
        "layers": 4, "layers_done": 2, "tokens_per_second": 300,
    }  # fmt: skip
    assert capsys.readouterr().err == ""


def test_events_are_told_twice_a_second_and_at_the_end(clock, events):
    with Progress(10, "count", "thing") as bar:
        for _ in range(10):
            clock.now += 0.25
            bar.update()
    assert [event["done"] for event in events()] == [1, 3, 5, 7, 9, 10, 10]
    assert events()[-1]["eta"] == 0


def test_an_unknown_total_has_no_time_left(clock, events):
    with Progress(None, "documents", "document") as bar:
        clock.now += 1
        bar.update(5)
    assert events()[-1] == {
        "desc": "documents", "unit": "document", "total": None, "done": 5, "elapsed": 1.0, "eta": None,
    }  # fmt: skip


def test_without_a_listener_a_bar_shows_and_a_listener_that_went_away_stops_nothing(tmp_path, monkeypatch, capsys):
    with Progress(2, "walk", "batch") as bar:
        bar.update(2)
    assert "walk: 100%" in capsys.readouterr().err
    monkeypatch.setenv(EVENTS, str(tmp_path / "gone" / "events"))
    with Progress(2, "walk", "batch") as bar:
        bar.update(2)
