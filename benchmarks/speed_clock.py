"""Timing work between products of matrices, for `benchmarks.speed`."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

ENOUGH = 2e9  # operations of a measured product


@dataclass(frozen=True)
class Measured:
    """One part, best of its repetitions.

    Attributes:
        seconds: of this run. flops: of it, 0 where no products are made. gigabytes: moved, where that is the work.
        rate: operations a second. share: of the yardstick. own_share: of products of the part's own shapes.
        dtype: of its products and of its yardstick.
        projected: seconds at the full shape and 3072 × 512 tokens, of one layer.
    """

    seconds: float
    flops: float
    gigabytes: float
    rate: float
    share: float | None
    own_share: float | None
    dtype: str
    projected: float


Sides = tuple[int, int, int]


class Clock:
    """Times work on a device, between products of matrices."""

    def __init__(self, device: torch.device, seconds: float, processor: bool, side: int) -> None:
        """Args:
        device: to compute on. seconds: for one part. processor: count the process's seconds, not the wall's.
        side: of the yardstick's square matrix.
        """
        self.device, self.budget, self.side = device, seconds, side
        self._now = time.process_time if processor else time.perf_counter

    def once(self, work: Callable[[], object]) -> float:
        """Seconds of one call."""
        self._wait()
        start = self._now()
        work()
        self._wait()
        return self._now() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def products(self, sides: Sides, dtype: torch.dtype) -> Callable[[], float]:
        """Measures the rate of products [m, k] @ [k, n], repeated until the clock can tell their time."""
        m, k, n = sides
        left, right = (torch.randn(rows, k, device=self.device).to(dtype) for rows in (m, n))
        out = torch.empty(m, n, device=self.device, dtype=dtype)
        times = max(1, round(ENOUGH / (2.0 * m * k * n)))

        def multiply() -> None:
            for _ in range(times):
                torch.mm(left, right.T, out=out)

        multiply()
        return lambda: times * 2.0 * m * k * n / self.once(multiply)

    def part(self, timed: Callable[[], float], flops: float, own: Sides, dtype: torch.dtype, scale: float) -> Measured:
        """Repeat a part until its time is over, at most 20 times, products before and after each.

        Args:
            timed: does the part and gives its seconds. flops: of it. own: the product that it consists of.
            dtype: of its products. scale: of this run to the full size.
        """
        yardstick, shapes = self.products((self.side,) * 3, dtype), self.products(own, dtype)
        timed()
        rates, own_rates = [yardstick()], [shapes()]
        seconds: list[float] = []
        until = time.perf_counter() + self.budget
        while not seconds or (len(seconds) < 20 and time.perf_counter() < until):
            seconds.append(timed())
            rates.append(yardstick())
            own_rates.append(shapes())
        rate = flops / min(seconds)
        shares = (rate / max(rates), rate / max(own_rates))
        return Measured(
            min(seconds), flops, 0.0, rate, *shares, str(dtype).removeprefix("torch."), min(seconds) * scale
        )

    def moved(self, work: Callable[[], int], scale: float) -> Measured:
        """A part without products, once: what it moves, in bytes, is what it returns; 0 where nothing is."""
        size = [0]

        def counted() -> None:
            size[0] = work()

        seconds = self.once(counted)
        return Measured(seconds, 0.0, size[0] / 1e9, 0.0, None, None, "", seconds * scale)
