"""The device, dtype and threads that a process computes with, from the names in params.yaml."""

import torch

from ream.errors import UserError
from ream.machine.threads import set_threads

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def runtime(device: str, dtype: str, threads: int | str) -> tuple[torch.device, torch.dtype]:
    """The device and dtype to compute with; sets the number of CPU threads of this process.

    Args:
        device: a name for `device_of`.
        dtype: a name for `dtype_of`.
        threads: number of CPU threads; "auto" leaves the libraries' own.

    Raises:
        UserError: see `device_of`.
    """
    if isinstance(threads, int):
        set_threads(threads)
    place = device_of(device)
    return place, dtype_of(dtype, place)


def device_of(name: str) -> torch.device:
    """The torch device of a name; ``auto`` is cuda where torch sees a CUDA device, else the CPU.

    Raises:
        UserError: a CUDA device is named and torch sees none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"compute.device: {name} was requested, but torch sees no CUDA device; use cpu or auto")
    return torch.device(name)


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    """The torch dtype of a name; ``auto`` is float32 on a CPU and bfloat16 on a GPU."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    return DTYPES[name]
