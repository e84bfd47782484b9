"""Writing pieces of a file in a thread of its own while the next pieces are made."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

Piece = bytes | bytearray

# Pieces that wait while one is written. An expert's first tensor takes its whole merge and the others next to nothing:
# with no place to wait, only the last of the three would be written beside the next merge.
WAITING = 2
# Of all pieces that wait or are written; a larger one is written with none waiting.
AHEAD_BYTES = 64 * 1024**2


@contextmanager
def written_behind(write: Callable[[Piece], object]) -> Iterator[Callable[[Piece], None]]:
    """A function that takes pieces to be written, in their order, by a thread; at the end of the block all are.

    It waits where as many pieces as allowed are ahead of a new one, and raises what ``write`` raised for an earlier
    one. Where the block ends with an error, its own or the writer's, pieces that wait are not written and the thread
    has ended before the error goes on.

    Args:
        write: of a piece; only that thread calls it. A piece must not change any more.
    """
    ahead: deque[tuple[Future[object], int]] = deque()

    def put(piece: Piece) -> None:
        while ahead and (len(ahead) > WAITING or sum(size for _, size in ahead) + len(piece) > AHEAD_BYTES):
            ahead.popleft()[0].result()
        ahead.append((writer.submit(write, piece), len(piece)))

    with ThreadPoolExecutor(1, thread_name_prefix="writing") as writer:
        try:
            yield put
            for each, _ in ahead:
                each.result()
        finally:
            for each, _ in ahead:
                each.cancel()
