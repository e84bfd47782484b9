"""Checking that all weights of a checkpoint are finite, before any work, where reading them needs no download."""

from pathlib import Path

from ream.errors import UserError
from ream.machine.progress import QUIET_SECONDS, Progress
from ream.models.storage.checkpoint import Checkpoint
from ream.models.stored_dtypes import is_finite

BLOCK_BYTES = 1 << 26  # bytes of a tensor that are in memory at a time; a multiple of every element's size


def check_weights(checkpoint: Checkpoint) -> None:
    """Read every stored tensor of a local checkpoint once, block by block, scales and FP8 codes among them.

    Raises:
        UserError: a tensor holds NaN or Inf; the message names the first one and its shard.
    """
    with Progress(len(checkpoint.tensors), "reading the weights", "tensor", delay=QUIET_SECONDS) as progress:
        for info in checkpoint.tensors.values():
            with checkpoint.source.open(info.shard) as file:
                file.seek(info.begin)
                for begin in range(info.begin, info.end, BLOCK_BYTES):
                    if not is_finite(bytearray(file.read(min(BLOCK_BYTES, info.end - begin))), info.dtype):
                        raise UserError(
                            f"{Path(checkpoint.source.where(info.shard))}: {info.name} holds NaN or Inf; fetch that "
                            "shard again or repair the model"
                        )
            progress.update()
