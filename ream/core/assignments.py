"""Assignment problems, solved by threads while the caller makes the next cost matrices.

scipy's solver (the shortest augmenting paths of Crouse, 2016) lets go of Python's lock while it works, so threads are
enough: they share the cost matrices, and nothing is started or imported anew.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from jaxtyping import Float, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

SMALL = 256  # neurons below which a problem takes two milliseconds at most and is solved at once
WAITING_BYTES = 1 << 28  # of cost matrices that are solved or wait for it; one at least


def assignment(cost: Float[Tensor, "D D"]) -> Int64[np.ndarray, " D"]:
    """π with the least total cost: the member's neuron π[a] comes to the centroid's position a (scipy's solver)."""
    return linear_sum_assignment(cost.cpu().numpy())[1].astype(np.int64)


class Assignments:
    """Solves problems in the order in which they come, several at a time; each by itself, so their number is free.

    Leaving the block by an error or Ctrl-C drops those that have not begun and waits for those that have.
    """

    def __init__(self, threads: int, solve: Callable[[Tensor], np.ndarray] = assignment) -> None:
        """Args:
        threads: to solve in; 0 solves in the caller's own.
        solve: takes a cost matrix [D, D] on any device to a permutation [D].
        """
        self._solve, self._threads = solve, threads
        self._pool = ThreadPoolExecutor(threads, "assignment") if threads else None
        self._waiting: deque[Future[np.ndarray]] = deque()

    def __enter__(self) -> "Assignments":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=error is not None)

    def submit(self, cost: Float[Tensor, "D D"]) -> "Future[np.ndarray]":
        """Have a problem solved; waits for earlier ones where as many are under way as may be.

        Raises:
            What solving an earlier one has raised.
        """
        if self._pool is None or len(cost) < SMALL:
            return solved(self._solve(cost))
        while len(self._waiting) >= most_waiting(self._threads, cost.numel() * cost.element_size()):
            self._waiting.popleft().result()
        future = self._pool.submit(self._solve, cost)
        self._waiting.append(future)
        return future


def solved(permutation: np.ndarray) -> "Future[np.ndarray]":
    """A future that has its result."""
    future: Future[np.ndarray] = Future()
    future.set_result(permutation)
    return future


def most_waiting(threads: int, size: int) -> int:
    """Cost matrices of ``size`` bytes that are under way at most: one for each thread, and one that is next."""
    return max(1, min(threads + 1, WAITING_BYTES // size))


def waiting_bytes(threads: int, width: int) -> int:
    """Bytes of float64 cost matrices beside the one that is being made, for experts of ``width`` neurons."""
    size = 8 * width * width
    return most_waiting(threads, size) * size if threads and width >= SMALL else 0
