"""Writing pieces of a file in another thread while the next pieces are made."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

Piece = bytes | bytearray

# Number of pieces that may wait while one is written. An expert's first tensor takes the time of its whole merge, the
# other two next to none: if none could wait, only the last of the three would be written during the next merge.
WAITING = 2
# Limit of the total size of pieces that wait or are being written; a larger piece goes alone.
AHEAD_BYTES = 64 * 1024**2


@contextmanager
def written_behind(write: Callable[[Piece], object]) -> Iterator[Callable[[Piece], None]]:
    """Yield a function that takes pieces for another thread to write in order; all are written when the block exits.

    The function blocks while as many pieces as allowed are ahead of a new one, and raises what ``write`` raised for an
    earlier piece. If the block or the writer fails, waiting pieces are not written, and the thread has ended before the
    error leaves the block.

    Args:
        write: writes a piece; only the other thread calls it. A piece must not be changed once it is handed over.
    """
    ahead: deque[tuple[Future[object], int]] = deque()

    def put(piece: Piece) -> None:
        while ahead and (len(ahead) > WAITING or sum(size for _, size in ahead) + len(piece) > AHEAD_BYTES):
            ahead.popleft()[0].result()
        ahead.append((writer.submit(write, piece), len(piece)))

    with ThreadPoolExecutor(1, thread_name_prefix="writing") as writer:
        try:
            yield put
            for writing, _ in ahead:
                writing.result()
        finally:
            for writing, _ in ahead:
                writing.cancel()
