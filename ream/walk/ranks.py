"""Several processes on one walk, as torchrun starts them: each takes a share of the tokens, all get the same totals.

What ranks tell each other goes over gloo and the host's memory, with GPUs, too: the sums of a layer are there already,
in float64, and are a few MB a layer (128 experts, hidden 2048: 4 MB); so are decisions, in a sequential walk.

An error of one rank must end all of them and leave none waiting. So no rank goes into a collective operation without a
meeting before it, in which every rank says that it has come there, or what has become of it instead.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load, load_file, save
from torch import Tensor

from ream.core.sums import Sums
from ream.errors import UserError

# What one rank may have to wait for: that another has walked a layer, or that the first has decided on one, or drawn
# the calibration text.
# Processes that end are noticed at once; this is for machines that fall silent.
PATIENCE = timedelta(hours=6)


class Ranks:
    """All processes of a torchrun, as one of them sees them.

    Attributes:
        rank: of this one, from 0. size: how many there are. local_rank, local_size: the same on this machine alone.
        first: whether it is rank 0, which does all that is not shared out.
    """

    def __init__(self) -> None:
        """Join the others that torchrun has started; which they are stands in environment variables."""
        dist.init_process_group("gloo", timeout=PATIENCE)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_rank, self.local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
        self.first = self.rank == 0
        self._together, self._known = True, False  # not left yet; whether all know of the error that ends this one

    def meet(self, where: str, value: Any = None) -> list[Any]:
        """Wait until all ranks have come to the same place.

        Args:
            where: name of the place. value: what this rank tells the others, as plain as JSON.

        Returns:
            What each rank has told.

        Raises:
            UserError: a rank has ended with it, or without a word.
        """
        return self._exchange({"where": where, "value": value})

    def sum(self, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Totals over all ranks, the same bits on each; after a meeting.

        Args:
            totals: of this rank; float64 on the host, of the same names and shapes on all.
        """
        flat = torch.cat([total.reshape(-1) for total in totals.values()])
        self._collective(flat)
        parts = flat.split([total.numel() for total in totals.values()])
        return {name: part.reshape(totals[name].shape) for name, part in zip(totals, parts, strict=True)}

    def gather(self, rows: Tensor, order: np.ndarray, count: int) -> Tensor:
        """All rows of a table that the ranks have parts of; after a meeting.

        Args:
            rows: [s, H] of this rank, on the host. order: [s], which of all rows they are.
            count: S, rows in all, each of exactly one rank.

        Returns:
            [S, H], the rows' own bits: they are added up as bytes, to the zeros of the other ranks.
        """
        table = torch.zeros(count, rows.shape[1], dtype=rows.dtype)
        table[torch.from_numpy(order)] = rows
        self._collective(table.view(torch.uint8))
        return table

    def broadcast(self, where: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the first rank has, on all of them; it is a meeting, too.

        Args:
            where: name of the place.
            tensors: of the first, on the host, of any names, dtypes and shapes; not looked at on the others.

        Returns:
            The first's own bits, as safetensors: they are added up as bytes, to the zeros of the other ranks.
        """
        packed = save(dict(tensors)) if self.first else b""
        sent = torch.zeros(self.meet(where, len(packed))[0], dtype=torch.uint8)
        if self.first:
            sent = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
        self._collective(sent)
        return load(sent.numpy().tobytes())

    def placed(self, device: str, threads: int | str) -> str:
        """The device of this rank: a GPU of its own, or the CPU, of which it takes its share of the cores.

        Args:
            device: that was asked for. threads: likewise; a number leaves the cores to torch's own setting.

        Raises:
            UserError: a certain GPU is asked for, or there are fewer than ranks.
        """
        if threads == "auto":
            torch.set_num_threads(max(1, cores() // self.local_size))
        if device == "cpu" or not torch.cuda.is_available():
            return device
        if ":" in device:
            raise UserError(
                f"compute.device: {device} is one GPU, and there are {self.size} ranks; auto gives each its own"
            )
        if self.local_size > torch.cuda.device_count():
            raise UserError(
                f"{self.local_size} ranks on a machine where torch sees {torch.cuda.device_count()} GPUs; start at "
                "most as many ranks, or set compute.device to cpu"
            )
        torch.cuda.set_device(self.local_rank)
        return f"cuda:{self.local_rank}"

    def leave(self) -> None:
        """Meet for the last time: from here on each rank is by itself. Again, it does nothing.

        Raises:
            UserError: as `meet`.
        """
        if self._together:
            self.meet("the end")
            self._part()

    def tell(self, line: str) -> None:
        """End with an error: all ranks get to know it, and the first has printed it when this returns on any."""
        if self._together and not self._known:
            try:
                self._exchange({"error": line})
            except UserError as error:  # of the lowest rank that has one
                line = str(error)
        if self.first:
            print(f"error: {line}", file=sys.stderr, flush=True)
        if self._together:
            with suppress(RuntimeError):  # one is gone already; nothing is left to wait for
                dist.barrier()  # torchrun ends all when the first ends: not before the line is out
            self._part()

    def _part(self) -> None:
        self._together = False
        dist.destroy_process_group()
        torch.set_num_threads(cores())  # where ``threads`` is a number, each stage sets it again

    def _exchange(self, told: dict[str, Any]) -> list[Any]:
        text = torch.frombuffer(bytearray(json.dumps(told).encode()), dtype=torch.uint8)
        sizes = torch.zeros(self.size, dtype=torch.int64)
        sizes[self.rank] = len(text)
        self._collective(sizes)
        said = torch.zeros(self.size, int(sizes.max()), dtype=torch.uint8)
        said[self.rank, : len(text)] = text
        self._collective(said)
        heard = [json.loads(bytes(row[:size].tolist())) for row, size in zip(said, sizes, strict=True)]
        if errors := [each["error"] for each in heard if "error" in each]:
            self._known = True
            raise UserError(errors[0])
        places = {each["where"] for each in heard}
        assert len(places) == 1, f"ranks are at different places: {places}"
        return [each["value"] for each in heard]

    def _collective(self, tensor: Tensor) -> None:
        """Add up over all ranks, in place.

        Raises:
            UserError: a rank is gone.
        """
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            self._lost(error)

    def _lost(self, error: RuntimeError) -> NoReturn:
        self._known = True
        self._part()  # also the others notice it by themselves
        raise UserError(
            "another rank was killed or does not answer, torchrun tells which; the same command goes on where this one "
            "stood"
        ) from error


def cores() -> int:
    """Of the machine, those that this process may use."""
    return len(os.sched_getaffinity(0))


class Share:
    """A rank's part of the walk of one source."""

    def __init__(self, ranks: Ranks, order: np.ndarray, ahead: int, committed: Path) -> None:
        """Args:
        ranks: all of them. order: which of all probes are among this rank's tokens.
        ahead: the layer at which the rank stands that a kill has left furthest on.
        committed: that rank's folder, with what is kept of the layers before: their totals, or what became of them.
        """
        self.ranks, self.order, self.ahead, self.committed = ranks, order, ahead, committed

    def known(self, index: int) -> dict[str, Tensor] | None:
        """What is kept of a layer, where a rank has committed it before a kill: it is the same of all ranks."""
        return load_file(self.committed / f"layer-{index:03d}.safetensors") if index < self.ahead else None

    def together(self, index: int, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The totals of a layer: sums added up, probes put in their order.

        Args:
            index: of the layer. own: Sums and probes of this rank's tokens.
        """
        counts = self.ranks.meet(f"layer {index}", len(own["probes"]))
        sums = self.ranks.sum({name: own[name] for name in Sums.__annotations__})
        return sums | {"probes": self.ranks.gather(own["probes"], self.order, sum(counts))}

    def decided(self, index: int, decide: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """What becomes of a layer: the first rank decides, once, and all others are given it.

        Would each decide by itself, ranks on different processors could round a tie in different ways.

        Args:
            index: of the layer. decide: called on the first alone.
        """
        return self.ranks.broadcast(f"layer {index} decided", decide() if self.ranks.first else {})
