"""How fast this machine multiplies matrices and solves assignment problems, measured in a fraction of a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

ENOUGH_SECONDS = 0.005  # duration of a product; shorter ones measure the start-up rather than the speed
SIDES = (256, 512, 1024, 2048, 4096, 8192)  # of the square matrices that are tried
ASSIGNED = 192  # neurons of the assignment problem that is timed


@dataclass(frozen=True)
class Rates:
    """Speeds of a machine.

    Attributes:
        compute: floating-point operations a second, of products in the dtype of the computation.
        double: the same in float64.
        assignment: steps a second of an assignment problem, which has D³ of them.
    """

    compute: float
    double: float
    assignment: float


@cache
def measured(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure this machine, once in a process.

    Args:
        device: to compute on.
        dtype: to compute in.
    """
    cost = np.random.default_rng(0).random((ASSIGNED, ASSIGNED))
    return Rates(
        compute=_products(device, dtype),
        double=_products(device, torch.float64),
        assignment=ASSIGNED**3 / _best(lambda: linear_sum_assignment(cost), device),
    )


def _products(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of products of square matrices, larger and larger until one takes ENOUGH_SECONDS."""
    rate = 0.0
    for side in SIDES:
        matrix = torch.ones(side, side, device=device, dtype=dtype)
        seconds = _best(partial(torch.matmul, matrix, matrix), device)
        rate = max(rate, 2.0 * side**3 / seconds)
        if seconds > ENOUGH_SECONDS:
            break
    return rate


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the faster of two runs, after a first run that does not count."""
    best = float("inf")
    for turn in range(3):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn:
            best = min(best, time.perf_counter() - start)
    return best
