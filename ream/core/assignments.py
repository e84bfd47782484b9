"""Assignment problems, solved by threads while the caller computes the next cost matrices.

scipy's solver (the shortest augmenting paths of Crouse, 2016) releases Python's global lock while it works, so threads
are enough: they share the cost matrices, and no process has to be started.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

SMALL = 256  # problems of fewer neurons take two milliseconds at most, and are solved in the caller's thread
WAITING_BYTES = 1 << 28  # limit for cost matrices that are being solved or wait; one is always allowed


def assignment(cost: Float[Tensor, "D D"]) -> Int64[np.ndarray, " D"]:
    """π of least total cost: the member's neuron π[a] comes to the centroid's position a.

    Raises:
        ValueError: the cost has an entry that is not a number.
    """
    permutation: np.ndarray = linear_sum_assignment(cost.cpu().numpy())[1].astype(np.int64)
    return permutation


class Assignments:
    """Solves problems in the order in which they are submitted, several at a time.

    Each problem is solved by one thread, so results do not depend on the number of threads. Leaving the ``with`` block
    by an error or Ctrl-C drops the problems that have not begun and waits for those that have.
    """

    def __init__(self, threads: int, solve: Callable[[Tensor], np.ndarray] = assignment) -> None:
        """Start no thread yet.

        Args:
            threads: number of threads; 0 solves in the caller's thread.
            solve: takes a cost matrix [D, D] on any device to a permutation [D].
        """
        self._solve, self._threads = solve, threads
        self._pool = ThreadPoolExecutor(threads, "assignment") if threads else None
        self._waiting: deque[Future[np.ndarray]] = deque()

    def __enter__(self) -> "Assignments":
        """The solver itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for all problems, or after an error for those that have begun."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=error is not None)

    def submit(self, cost: Float[Tensor, "D D"]) -> "Future[np.ndarray]":
        """The future permutation; first waits for earlier problems where too many are under way.

        Raises:
            Exception: whatever solving an earlier problem raised.
        """
        if self._pool is None or len(cost) < SMALL:
            return solved(self._solve(cost))
        while len(self._waiting) >= most_waiting(self._threads, cost.numel() * cost.element_size()):
            self._waiting.popleft().result()
        future = self._pool.submit(self._solve, cost)
        self._waiting.append(future)
        return future


def solved(permutation: np.ndarray) -> "Future[np.ndarray]":
    """A future that has its result already."""
    future: Future[np.ndarray] = Future()
    future.set_result(permutation)
    return future


def most_waiting(threads: int, size: int) -> int:
    """Maximum number of cost matrices of ``size`` bytes under way: one for each thread, and the next one."""
    return max(1, min(threads + 1, WAITING_BYTES // size))


def waiting_bytes(threads: int, width: int) -> int:
    """Maximum bytes of float64 cost matrices [width, width] under way, beside the one that is being computed."""
    size = 8 * width * width
    return most_waiting(threads, size) * size if threads and width >= SMALL else 0
