"""Several processes on one walk, as torchrun starts them: each takes a share of the tokens, all get the same totals.

Ranks communicate through gloo and host memory, also where they compute on GPUs. The sums of a layer (float64) and the
decisions of a sequential walk are on the host already; the sums take a few MB per layer (128 experts with hidden size
2048: 4 MB).

An error on one rank must end all of them and leave none waiting. Therefore no rank enters a collective operation
without a meeting first, in which every rank reports that it has arrived, or what happened to it instead.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from ream.errors import UserError
from ream.machine.threads import set_threads

# How long a rank waits for the slowest other one to walk a layer, or for the first to decide on one or to draw the
# calibration text. A process that ends is noticed at once; this limit is for machines that fall silent.
TIMEOUT = timedelta(hours=6)


class Ranks:
    """All processes of a torchrun, as one of them sees them.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
        local_rank: of this process among those of its machine.
        local_size: number of processes on this machine.
        first: whether this is rank 0, which does everything that is not distributed.
    """

    def __init__(self) -> None:
        """Join the other processes, which torchrun names in environment variables."""
        dist.init_process_group("gloo", timeout=TIMEOUT)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_rank, self.local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        self.first = self.rank == 0
        self._joined = True
        self._error_known = False  # whether all ranks know of the error that ends this one

    def meet(self, place: str, value: Any = None) -> list[Any]:
        """Wait until all ranks have come to the same place.

        Args:
            place: name of the place.
            value: what this rank tells the others; plain enough for JSON.

        Returns:
            The value of each rank, in their order.

        Raises:
            UserError: a rank has ended with this error, or has vanished.
        """
        return self._exchange({"where": place, "value": value})

    def sum(self, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The totals added up over all ranks, the same bits on each. A meeting must come first.

        Args:
            totals: of this rank, float64 on the host; names and shapes are the same on all ranks.
        """
        flat = torch.cat([total.reshape(-1) for total in totals.values()])
        with self._collective():
            dist.all_reduce(flat)
        parts = flat.split([total.numel() for total in totals.values()])
        return {name: part.reshape(totals[name].shape) for name, part in zip(totals, parts, strict=True)}

    def gather(self, rows: Tensor, order: np.ndarray, counts: list[int]) -> Tensor:
        """The whole of a table whose rows the ranks have shared out, bit for bit. A meeting must come first.

        Args:
            rows: [s, H], this rank's rows, on the host.
            order: [s], index of each of them in the table.
            counts: s of each rank.

        Returns:
            [S, H] with S the sum of the counts.
        """
        if not sum(counts):
            return rows
        table = torch.empty(sum(counts), rows.shape[1], dtype=rows.dtype)
        gathered_rows = self._all_gather(rows.contiguous().view(torch.uint8), counts)
        gathered_order = self._all_gather(torch.from_numpy(order.astype(np.int64)), counts)
        for part, places in zip(gathered_rows, gathered_order, strict=True):
            table[places] = part.view(rows.dtype)
        return table

    def broadcast(self, place: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The first rank's tensors, bit for bit, on all ranks. It is a meeting, too.

        Args:
            place: name of the meeting.
            tensors: of the first rank, on the host, of any names, dtypes and shapes; ignored on the others.
        """
        packed = save(dict(tensors)) if self.first else b""
        size = self.meet(place, len(packed))[0]
        buffer = torch.frombuffer(bytearray(packed), dtype=torch.uint8) if self.first else torch.empty(size).byte()
        with self._collective():
            dist.broadcast(buffer, src=0)
        return load(buffer.numpy().tobytes())

    def placed(self, device: str, threads: int | str) -> str:
        """The device of this rank: a GPU of its own, or the CPU, of which it takes its share of the cores.

        Args:
            device: the one asked for.
            threads: the number asked for; "auto" sets them to this rank's share of the cores.

        Raises:
            UserError: a particular GPU is asked for, or the machine has fewer GPUs than ranks.
        """
        if threads == "auto":
            set_threads(max(1, cores() // self.local_size))
        if device == "cpu" or not torch.cuda.is_available():
            return device
        if ":" in device:
            raise UserError(
                f"compute.device: {device} is one GPU, but there are {self.size} ranks; auto gives every rank its own"
            )
        if self.local_size > torch.cuda.device_count():
            raise UserError(
                f"{self.local_size} ranks on a machine where torch sees {torch.cuda.device_count()} GPUs; start at "
                "most as many ranks, or set compute.device to cpu"
            )
        torch.cuda.set_device(self.local_rank)
        return f"cuda:{self.local_rank}"

    def leave(self) -> None:
        """Meet for the last time; from here on each rank is on its own. A second call does nothing.

        Raises:
            UserError: as `meet`.
        """
        if self._joined:
            self.meet("the end")
            self._disconnect()

    def tell(self, line: str) -> None:
        """End with an error: all ranks learn of it, and the first has printed it when this returns on any of them."""
        if self._joined and not self._error_known:
            try:
                self._exchange({"error": line})
            except UserError as error:  # of the lowest rank that has one
                line = str(error)
        if self.first:
            print(f"error: {line}", file=sys.stderr, flush=True)
        if self._joined:
            with suppress(RuntimeError):  # a rank is gone already, so there is nothing to wait for
                dist.barrier()  # torchrun ends all ranks when the first ends, which must not be before it has printed
            self._disconnect()

    def _disconnect(self) -> None:
        self._joined = False
        dist.destroy_process_group()
        set_threads(cores())  # where ``threads`` is a number, each stage sets it again

    def _exchange(self, message: dict[str, Any]) -> list[Any]:
        """Send a message to all ranks and return their values.

        Raises:
            UserError: a rank's message is an error.
        """
        text = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        sizes = [int(size) for size in self._all_gather(torch.tensor([len(text)]), [1] * self.size)]
        messages = [json.loads(bytes(part.tolist())) for part in self._all_gather(text, sizes)]
        if errors := [message["error"] for message in messages if "error" in message]:
            self._error_known = True
            raise UserError(errors[0])
        places = {message["where"] for message in messages}
        assert len(places) == 1, f"ranks are at different places: {places}"
        return [message["value"] for message in messages]

    def _all_gather(self, part: Tensor, counts: list[int]) -> list[Tensor]:
        """The parts of all ranks. They differ in length, which gloo does not take, so they are padded on the way.

        Args:
            part: [s, ...] of this rank.
            counts: s of each rank.
        """
        padded = torch.zeros(max(counts), *part.shape[1:], dtype=part.dtype)
        padded[: len(part)] = part
        gathered = [torch.empty_like(padded) for _ in counts]
        with self._collective():
            dist.all_gather(gathered, padded)
        return [tensor[:count] for tensor, count in zip(gathered, counts, strict=True)]

    @contextmanager
    def _collective(self) -> Iterator[None]:
        """Around a collective operation.

        Raises:
            UserError: a rank is gone.
        """
        try:
            yield
        except RuntimeError as error:
            self._error_known = True
            self._disconnect()  # the other ranks notice by themselves
            raise UserError(
                "another rank was killed or does not answer (torchrun says which); run the same command again to "
                "resume where this run stopped"
            ) from error


def cores() -> int:
    """The number of the machine's cores that this process may use."""
    return len(os.sched_getaffinity(0))
