"""Reading the next layer's bytes from the disk while the current layer is computed.

The kernel is asked to bring them into its page cache (``posix_fadvise``). That takes none of this process's memory, and
no result depends on it: a tensor that is read later comes from the cache, or from the disk as before.
"""

import os
import threading
from collections.abc import Iterator

from ream.machine.memory import free_memory
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint

STEP = 1 << 17  # bytes of a request; Linux reads no more for one request than its read-ahead window
FREE_FRACTION = 0.5  # largest fraction of free memory for a layer; beyond it the layer would evict other cached pages


def read_ahead(checkpoint: Checkpoint, architecture: Architecture, index: int) -> threading.Thread | None:
    """Start reading a layer's tensors.

    Only shards that are on the disk already are read; nothing is fetched from the hub.

    Args:
        checkpoint: of the model.
        architecture: of the model.
        index: of the layer; for an index beyond the last layer nothing happens.

    Returns:
        The thread that makes the requests, which need not be waited for. None if there is nothing to read, the system
        takes no such requests, or memory is short.
    """
    if index >= architecture.depth or not hasattr(os, "posix_fadvise"):
        return None
    spans = {shard: list(ranges) for shard, ranges in layer_spans(checkpoint, architecture, index).items()}
    free = free_memory()
    if free is None or sum(end - begin for ranges in spans.values() for begin, end in ranges) > FREE_FRACTION * free:
        return None
    thread = threading.Thread(target=_request, args=(checkpoint, spans), name=f"read-ahead-{index}", daemon=True)
    thread.start()
    return thread


def layer_spans(checkpoint: Checkpoint, architecture: Architecture, index: int) -> dict[str, Iterator[tuple[int, int]]]:
    """The byte ranges of a layer's tensors: shard to (begin, end), in order and joined where they touch."""
    prefix, ranges = architecture.layer_prefix(index), dict[str, list[tuple[int, int]]]()
    for name in checkpoint.logical:
        if name.startswith(prefix):
            for info in checkpoint.headers_of(name).values():
                ranges.setdefault(info.shard, []).append((info.begin, info.end))
    return {shard: joined(sorted(spans)) for shard, spans in ranges.items()}


def joined(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sorted spans, with those that touch or overlap joined into one."""
    begin, end = spans[0]
    for start, stop in spans[1:]:
        if start > end:
            yield begin, end
            begin = start
        end = max(end, stop)
    yield begin, end


def _request(checkpoint: Checkpoint, spans: dict[str, list[tuple[int, int]]]) -> None:
    for shard, ranges in spans.items():
        path = checkpoint.source.folder / shard
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # not there yet, or no longer: whoever reads it will fetch it, or report what is wrong
        try:
            for begin, end in ranges:
                for start in range(begin, end, STEP):
                    os.posix_fadvise(handle, start, min(STEP, end - start), os.POSIX_FADV_WILLNEED)
        finally:
            os.close(handle)
