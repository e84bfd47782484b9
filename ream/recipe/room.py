"""Room on the disk for a compressed checkpoint, looked at before it is written."""

from pathlib import Path

from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.machine.available import free_disk
from ream.machine.units import bytes_shown
from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.output_tensors import output_tensors


def checkpoint_bytes(
    checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe, unquantised: bool = False
) -> int:
    """Bytes of all tensors of the checkpoint that a recipe describes."""
    written = output_tensors(checkpoint, architecture, recipe, unquantised)
    return sum(tensor.bytes for tensors in written.values() for tensor in tensors)


def check_room(folder: Path, needed: int, what: str) -> None:
    """Refuse a folder whose disk has no room.

    Args:
        folder: that will be written; it need not exist yet.
        needed: bytes.
        what: that they are for, for the message.

    Raises:
        UserError: names the folder, what is needed and what is free.
    """
    free = free_disk(folder)
    if needed > free:
        raise UserError(
            f"{folder.absolute()}: {bytes_shown(needed)} of disk is needed for {what}, but {bytes_shown(free)} is "
            "free; free space or choose another folder"
        )
