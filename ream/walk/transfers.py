"""Hidden states between the host and a GPU, while the GPU computes; on a CPU they stay where they are.

Both directions go through pinned buffers of two micro-batches. Pinning all hidden states would take memory that the
kernel cannot give to anything else, and hidden states in mapped files cannot be pinned.
"""

from collections.abc import Iterable, Iterator
from types import TracebackType

import torch
from torch import Tensor


def prefetched(
    device: torch.device, parts: Iterable[slice], *tensors: Tensor
) -> Iterator[tuple[slice, tuple[Tensor, ...]]]:
    """Each part with its rows of the tensors on the device.

    On a GPU the rows of the next part are copied meanwhile: they are read before the caller is done with the part
    before. So the caller may write to a part's rows, but not to those of a later part.

    Args:
        device: to compute on.
        parts: rows of each part.
        tensors: on the host, [n, ...] each.
    """
    if not has_own_memory(device):
        for part in parts:
            yield part, tuple(tensor[part] for tensor in tensors)
        return
    stream, buffers = torch.cuda.Stream(device), [PinnedBuffer(), PinnedBuffer()]
    previous: tuple[slice, tuple[Tensor, ...], torch.cuda.Event] | None = None
    for number, part in enumerate(parts):
        buffer = buffers[number % 2]
        buffer.wait()  # until the rows it held, of two parts ago, have been sent
        with torch.cuda.stream(stream):
            rows = tuple(
                buffer.filled(slot, tensor[part]).to(device, non_blocking=True) for slot, tensor in enumerate(tensors)
            )
            event = buffer.mark(stream)
        if previous is not None:
            yield _arrived(previous, device)
        previous = part, rows, event
    if previous is not None:
        yield _arrived(previous, device)


def _arrived(
    sent: "tuple[slice, tuple[Tensor, ...], torch.cuda.Event]", device: torch.device
) -> tuple[slice, tuple[Tensor, ...]]:
    """Make what the copying stream has sent safe to use on the computing stream."""
    part, rows, event = sent
    computing = torch.cuda.current_stream(device)
    computing.wait_event(event)
    for tensor in rows:
        tensor.record_stream(computing)
    return part, rows


class WriteBack:
    """Writes results from the device into tensors on the host.

    On a GPU each write is finished while the next part is computed; all are written when the ``with`` block exits. What
    is written may be read on the host only after that.
    """

    def __init__(self, device: torch.device) -> None:
        """Nothing is under way yet; ``device`` is where the results are computed."""
        self._device = device
        self._buffers = [PinnedBuffer(), PinnedBuffer()] if has_own_memory(device) else []
        self._under_way: tuple[Tensor, slice, Tensor, PinnedBuffer] | None = None

    def put(self, target: Tensor, part: slice, value: Tensor) -> None:
        """Set ``target[part] = value``.

        Args:
            target: on the host.
            part: rows of it.
            value: on the device.
        """
        if not self._buffers:
            target[part] = value
            return
        buffer = self._buffers[0]
        self._buffers.reverse()
        arriving = buffer.room(0, value.shape, value.dtype).copy_(value, non_blocking=True)
        buffer.mark(torch.cuda.current_stream(self._device))
        self._finish()
        self._under_way = target, part, arriving, buffer

    def _finish(self) -> None:
        """Finish the write that is under way, if any."""
        if self._under_way is not None:
            target, part, arrived, buffer = self._under_way
            self._under_way = None
            buffer.wait()
            target[part] = arrived

    def __enter__(self) -> "WriteBack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()


def has_own_memory(device: torch.device) -> bool:
    """Whether a device has memory of its own and computes asynchronously."""
    return device.type == "cuda"


def pinned_memory(size: int, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor [size] in page-locked host memory."""
    return torch.empty(size, dtype=dtype, pin_memory=True)


class PinnedBuffer:
    """Page-locked host memory in numbered slots, and the event after which a GPU is done with it."""

    def __init__(self) -> None:
        """No memory yet."""
        self._slots: dict[int, Tensor] = {}
        self._event: torch.cuda.Event | None = None

    def room(self, slot: int, shape: torch.Size, dtype: torch.dtype) -> Tensor:
        """A tensor of a slot's memory, which grows to the largest size that has been asked for."""
        size = shape.numel()
        memory = self._slots.get(slot)
        if memory is None or memory.dtype != dtype or len(memory) < size:
            memory = self._slots[slot] = pinned_memory(size, dtype)
        return memory[:size].view(shape)

    def filled(self, slot: int, rows: Tensor) -> Tensor:
        """A copy of the rows in a slot."""
        return self.room(slot, rows.shape, rows.dtype).copy_(rows)

    def mark(self, stream: torch.cuda.Stream) -> torch.cuda.Event:
        """Let `wait` wait for everything that the stream has been given so far."""
        self._event = torch.cuda.Event()
        self._event.record(stream)
        return self._event

    def wait(self) -> None:
        """Block until the GPU is done with the buffer."""
        if self._event is not None:
            self._event.synchronize()
