"""Rows to the device and back: which, in which order, and what the caller's writes do to those under way."""

from contextlib import nullcontext

import pytest
import torch

from ream.walk import transfers
from ream.walk.transfers import WriteBack, prefetched

CPU = torch.device("cpu")
ROWS, SIZE = 7, 2  # the last part is shorter


def slices():
    return (slice(start, min(start + SIZE, ROWS)) for start in range(0, ROWS, SIZE))


class Event:
    """As torch's, of a stream whose copies are done when they are asked for; writes down that it was waited for."""

    waited = 0

    def record(self, stream):
        pass

    def synchronize(self):
        Event.waited += 1


class Stream:
    def __init__(self, device):
        pass

    def wait_event(self, event):
        pass


@pytest.fixture(params=[False, True], ids=["cpu", "buffers"])
def buffers(request, monkeypatch):
    """Whether transfers take the way over buffers, here in plain memory: what a GPU does is not tested."""
    if request.param:
        monkeypatch.setattr(transfers, "has_own_memory", lambda device: True)
        monkeypatch.setattr(transfers, "pinned_memory", lambda size, dtype: torch.full((size,), 9, dtype=dtype))
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
        # a copy, as it is between two memories
        monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *given, **options: tensor.clone())
        for name, stand_in in {
            "Stream": Stream, "Event": Event, "stream": lambda stream: nullcontext(), "current_stream": Stream
        }.items():  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, stand_in)
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_part_comes_once_in_order_with_its_own_rows(buffers, dtype):
    first = torch.randn(ROWS, 3, 4).to(dtype)
    second = torch.arange(ROWS)
    seen = []
    for part, (a, b) in prefetched(CPU, slices(), first, second):
        assert torch.equal(a, first[part])
        assert torch.equal(b, second[part])
        seen.append((part.start, part.stop))
    assert seen == [(0, 2), (2, 4), (4, 6), (6, 7)]


def test_no_parts(buffers):
    assert list(prefetched(CPU, iter(()), torch.zeros(3, 2))) == []


def test_one_part_at_most_is_ahead(buffers):
    asked = []

    def parts():
        for part in slices():
            asked.append(part.start)
            yield part

    for number, _ in enumerate(prefetched(CPU, parts(), torch.zeros(ROWS, 2))):
        assert len(asked) == min(number + 1 + buffers, 4)


def test_a_tensor_can_be_replaced_part_by_part(buffers):
    """As hidden states in memory are: those that leave a layer take the place of those that enter it."""
    tensor = torch.randn(ROWS, 3)
    expected = 2 * tensor + 1
    with WriteBack(CPU) as back:
        for part, (rows,) in prefetched(CPU, slices(), tensor):
            back.put(tensor, part, 2 * rows + 1)
    assert torch.equal(tensor, expected)


def test_results_for_several_places(buffers):
    source = torch.randn(ROWS, 3, dtype=torch.float64)
    doubled, counts = torch.zeros(ROWS, 3, dtype=torch.float64), torch.zeros(ROWS, dtype=torch.int64)
    Event.waited = 0
    with WriteBack(CPU) as back:
        for part, (rows,) in prefetched(CPU, slices(), source):
            back.put(doubled, part, 2 * rows)
            back.put(counts, part, torch.arange(part.start, part.stop))
    assert torch.equal(doubled, 2 * source)
    assert counts.tolist() == list(range(ROWS))
    assert Event.waited == (10 if buffers else 0)  # before each of 8 results is taken, and before 2 of 4 parts


def test_an_error_leaves_what_was_under_way(buffers):
    tensor = torch.zeros(ROWS)

    def interrupted():
        with WriteBack(CPU) as back:
            back.put(tensor, slice(0, 2), torch.ones(2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tensor.tolist() == [0.0 if buffers else 1.0] * 2 + [0.0] * 5
