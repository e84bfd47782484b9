"""Timing work between matrix products, for `benchmarks.speed`."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

ENOUGH = 2e9  # floating-point operations of a product that is timed: enough for the clock to resolve
REPETITIONS = 20  # the most repetitions of a part


@dataclass(frozen=True)
class Measured:
    """The measurement of one part; the best of its repetitions.

    Attributes:
        seconds: time of this run.
        flops: floating-point operations of this run; 0 if the part makes no matrix products.
        gigabytes: data moved, if that is the part's work; else 0.
        rate: floating-point operations a second.
        share: rate as a fraction of the yardstick's; None without matrix products.
        own_share: rate as a fraction of that of products of the part's own shapes; None without matrix products.
        dtype: dtype of its products and of the yardstick; "" without matrix products.
        projected: seconds for one layer at the full shape and 3072 × 512 tokens.
    """

    seconds: float
    flops: float
    gigabytes: float
    rate: float
    share: float | None
    own_share: float | None
    dtype: str
    projected: float


Sides = tuple[int, int, int]  # m, k, n of a product [m, k] @ [k, n]


class Clock:
    """Times work on a device, between matrix products."""

    def __init__(self, device: torch.device, seconds: float, processor: bool, side: int) -> None:
        """Args:
        device: the device that computes.
        seconds: time for one part.
        processor: whether to count processor seconds of the process instead of wall seconds.
        side: side of the yardstick's square matrices.
        """
        self.device, self.budget, self.side = device, seconds, side
        self._now = time.process_time if processor else time.perf_counter

    def once(self, work: Callable[[], object]) -> float:
        """Seconds of one call; on a GPU, until the GPU has finished."""
        self._wait()
        start = self._now()
        work()
        self._wait()
        return self._now() - start

    def _wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def products(self, sides: Sides, dtype: torch.dtype) -> Callable[[], float]:
        """A function that measures the rate of products [m, k] @ [k, n], in floating-point operations a second.

        One measurement repeats the product until it has made ENOUGH operations.
        """
        m, k, n = sides
        left, right = (torch.randn(rows, k, device=self.device).to(dtype) for rows in (m, n))
        out = torch.empty(m, n, device=self.device, dtype=dtype)
        times = max(1, round(ENOUGH / (2.0 * m * k * n)))

        def multiply() -> None:
            for _ in range(times):
                torch.mm(left, right.T, out=out)

        multiply()
        return lambda: times * 2.0 * m * k * n / self.once(multiply)

    def part(
        self, timed: Callable[[], float], flops: float, sides: Sides, dtype: torch.dtype, scale: float
    ) -> Measured:
        """Repeat a part until its time is used up, at most REPETITIONS times, with products before and after each.

        Args:
            timed: runs the part and returns its seconds.
            flops: floating-point operations of one run.
            sides: sides of the products that the part consists of.
            dtype: dtype of its products.
            scale: factor from the seconds of this run to those at full size.
        """
        yardstick, shapes = self.products((self.side,) * 3, dtype), self.products(sides, dtype)
        timed()
        rates, own_rates = [yardstick()], [shapes()]
        seconds: list[float] = []
        until = time.perf_counter() + self.budget
        while not seconds or (len(seconds) < REPETITIONS and time.perf_counter() < until):
            seconds.append(timed())
            rates.append(yardstick())
            own_rates.append(shapes())
        best = min(seconds)
        rate = flops / best
        return Measured(
            seconds=best,
            flops=flops,
            gigabytes=0.0,
            rate=rate,
            share=rate / max(rates),
            own_share=rate / max(own_rates),
            dtype=str(dtype).removeprefix("torch."),
            projected=best * scale,
        )

    def moved(self, work: Callable[[], int], scale: float) -> Measured:
        """Run a part without matrix products once.

        Args:
            work: runs the part and returns the bytes that it moved, 0 if moving is not its work.
            scale: factor from the seconds of this run to those at full size.
        """
        sizes: list[int] = []
        seconds = self.once(lambda: sizes.append(work()))
        return Measured(seconds, 0.0, sizes[0] / 1e9, 0.0, None, None, "", seconds * scale)
