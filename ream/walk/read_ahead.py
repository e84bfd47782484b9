"""Having the next layer's bytes read from the disk while the one before it is computed.

The kernel is asked to bring them into its page cache (``posix_fadvise``): that takes none of this process's memory, and
what is computed does not depend on it. A tensor that is read later finds its bytes there, or on the disk as before.
"""

import os
import threading
from collections.abc import Iterator

from ream.machine.memory import free_memory
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint

STEP = 1 << 17  # bytes asked for at a time: Linux does no more for one request than its read-ahead window
SHARE = 0.5  # of free memory that a layer may take at most: else its bytes would drive out others


def read_ahead(checkpoint: Checkpoint, architecture: Architecture, index: int) -> threading.Thread | None:
    """Start to have a layer's tensors read.

    Only of shards that are in a folder already: nothing is fetched from the hub, and nothing that was fetched to be
    dropped is touched.

    Args:
        checkpoint: of the model. architecture: of the model.
        index: of the layer; beyond the last there is nothing to read.

    Returns:
        The thread that asks, which need not be waited for; None where nothing is to be read, the system cannot be
        asked, or memory is short.
    """
    if index >= architecture.depth or not hasattr(os, "posix_fadvise"):
        return None
    spans = {shard: list(found) for shard, found in layer_spans(checkpoint, architecture, index).items()}
    free = free_memory()
    if free is None or sum(end - begin for found in spans.values() for begin, end in found) > SHARE * free:
        return None
    thread = threading.Thread(target=_ask, args=(checkpoint, spans), name=f"read-ahead-{index}", daemon=True)
    thread.start()
    return thread


def layer_spans(checkpoint: Checkpoint, architecture: Architecture, index: int) -> dict[str, Iterator[tuple[int, int]]]:
    """Where a layer's tensors lie: shard to (begin, end) of its bytes, in order and joined where they touch."""
    prefix, places = architecture.layer_prefix(index), dict[str, list[tuple[int, int]]]()
    for name in checkpoint.logical:
        if name.startswith(prefix):
            for info in checkpoint.headers_of(name).values():
                places.setdefault(info.shard, []).append((info.begin, info.end))
    return {shard: joined(sorted(found)) for shard, found in places.items()}


def joined(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Sorted spans as fewer longer ones."""
    begin, end = spans[0]
    for start, stop in spans[1:]:
        if start > end:
            yield begin, end
            begin = start
        end = max(end, stop)
    yield begin, end


def _ask(checkpoint: Checkpoint, spans: dict[str, list[tuple[int, int]]]) -> None:
    for shard, found in spans.items():
        path = checkpoint.source.folder / shard
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:
            continue  # it is not there yet, or not any more: whoever reads it will fetch it, or say what is wrong
        try:
            for begin, end in found:
                for start in range(begin, end, STEP):
                    os.posix_fadvise(handle, start, min(STEP, end - start), os.POSIX_FADV_WILLNEED)
        finally:
            os.close(handle)
