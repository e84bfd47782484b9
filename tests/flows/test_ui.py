"""Ctrl-C of `make ui`, with a runner that ignores the first one."""

import asyncio
import os
import signal
import time

import pytest

from flows import ui


@pytest.fixture
def soon(monkeypatch):
    """The second interrupt comes soon."""
    monkeypatch.setattr(ui, "AGAIN_SECONDS", 0.1)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_that_is_lost_comes_again(soon):
    before, lost = signal.getsignal(signal.SIGINT), []

    def serve():
        try:
            interrupt()
        except KeyboardInterrupt:
            lost.append(1)
        time.sleep(20)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), ui._interrupted_until_it_ends():
        serve()
    assert lost
    assert time.monotonic() - start < 10
    assert signal.getsignal(signal.SIGINT) is before
    time.sleep(0.3)  # none comes after the end


def test_a_task_that_ignores_its_cancellation_is_left(soon):
    """asyncio turns the first Ctrl-C into a cancellation and nothing more."""

    async def serve():
        asyncio.get_running_loop().call_later(0.1, interrupt)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                continue

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), ui._interrupted_until_it_ends():
        asyncio.run(serve())
    assert time.monotonic() - start < 10
