"""Hidden states between the host and a GPU, while the GPU computes; on a CPU they stay where they are.

Both ways go through pinned buffers of two micro-batches: pinning all hidden states would take memory that the kernel
cannot give to anything else, and those in mapped files cannot be pinned.
"""

from collections.abc import Iterable, Iterator
from types import TracebackType

import torch
from torch import Tensor


def onto(device: torch.device, parts: Iterable[slice], *tensors: Tensor) -> Iterator[tuple[slice, tuple[Tensor, ...]]]:
    """Each part with its rows of some tensors on the device; on a GPU the next part's are on their way meanwhile.

    So the rows of a part are read before the caller is done with the part before it, which it may write to.

    Args:
        device: to compute on. parts: rows. tensors: on the host, [n, ...] each.
    """
    if not apart(device):
        for part in parts:
            yield part, tuple(tensor[part] for tensor in tensors)
        return
    stream, buffers = torch.cuda.Stream(device), [Pinned(), Pinned()]
    before: tuple[slice, tuple[Tensor, ...], torch.cuda.Event] | None = None
    for number, part in enumerate(parts):
        buffer = buffers[number % 2]
        buffer.wait()  # for its rows of two parts ago to have been sent
        with torch.cuda.stream(stream):
            rows = tuple(
                buffer.holding(place, tensor[part]).to(device, non_blocking=True)
                for place, tensor in enumerate(tensors)
            )
            event = buffer.mark(stream)
        if before is not None:
            yield _ready(before, device)
        before = part, rows, event
    if before is not None:
        yield _ready(before, device)


def _ready(
    sent: "tuple[slice, tuple[Tensor, ...], torch.cuda.Event]", device: torch.device
) -> tuple[slice, tuple[Tensor, ...]]:
    """What was sent by the other stream, for the one that computes."""
    part, rows, event = sent
    computing = torch.cuda.current_stream(device)
    computing.wait_event(event)
    for tensor in rows:
        tensor.record_stream(computing)
    return part, rows


class Back:
    """Brings results from the device to their places on the host; on a GPU one behind, all of them at the block's end.

    A place is not to be read on the host before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers = [Pinned(), Pinned()] if apart(device) else []
        self._under_way: tuple[Tensor, slice, Tensor, Pinned] | None = None

    def put(self, place: Tensor, part: slice, value: Tensor) -> None:
        """``place[part] = value``."""
        if not self._buffers:
            place[part] = value
            return
        buffer = self._buffers[0]
        self._buffers.reverse()
        arriving = buffer.room(0, value.shape, value.dtype).copy_(value, non_blocking=True)
        buffer.mark(torch.cuda.current_stream(self._device))
        self._settle()
        self._under_way = place, part, arriving, buffer

    def _settle(self) -> None:
        if self._under_way is not None:
            place, part, arrived, buffer = self._under_way
            self._under_way = None
            buffer.wait()
            place[part] = arrived

    def __enter__(self) -> "Back":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._settle()


def apart(device: torch.device) -> bool:
    """Whether a device has memory of its own and works by itself."""
    return device.type == "cuda"


def pinned_memory(size: int, dtype: torch.dtype) -> Tensor:
    """That many numbers that do not move."""
    return torch.empty(size, dtype=dtype, pin_memory=True)


class Pinned:
    """Host memory that a GPU reads and writes by itself, and when it last was done with it."""

    def __init__(self) -> None:
        self._memory: dict[int, Tensor] = {}
        self._event: torch.cuda.Event | None = None

    def room(self, place: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """A tensor of the memory number ``place``, which grows to the largest that was asked for."""
        size = shape.numel()
        memory = self._memory.get(place)
        if memory is None or memory.dtype != dtype or len(memory) < size:
            memory = self._memory[place] = pinned_memory(size, dtype)
        return memory[:size].view(shape)

    def holding(self, place: int, rows: Tensor) -> Tensor:
        """The rows, copied there."""
        return self.room(place, rows.shape, rows.dtype).copy_(rows)

    def mark(self, stream: torch.cuda.Stream) -> torch.cuda.Event:
        """Take what the stream has been given so far for what `wait` waits for."""
        self._event = torch.cuda.Event()
        self._event.record(stream)
        return self._event

    def wait(self) -> None:
        if self._event is not None:
            self._event.synchronize()
