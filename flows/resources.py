"""How many stages may hold the model at once, and on which GPU each runs."""

import os
import shutil
import subprocess
from pathlib import Path

from ream.errors import UserError
from ream.machine.memory import LIBRARIES_BYTES

FRACTION_OF_MEMORY = 0.8


class Devices:
    """Assigns each stage a GPU, the one with the fewest stages; assigns nothing on a machine without GPUs."""

    def __init__(self, names: list[str] | None = None) -> None:
        """Args:
        names: of the GPUs, as in CUDA_VISIBLE_DEVICES; None for all that this process may use.
        """
        self._names = gpus() if names is None else names
        self._stages = dict.fromkeys(self._names, 0)  # GPU to its number of stages

    def take(self) -> str | None:
        """Assign a GPU to a stage; returns its name for CUDA_VISIBLE_DEVICES, None without GPUs."""
        if not self._names:
            return None
        name = min(self._names, key=lambda name: (self._stages[name], self._names.index(name)))
        self._stages[name] += 1
        return name

    def give_back(self, name: str | None) -> None:
        """Take back the GPU of a stage that has ended; None is ignored."""
        if name is not None:
            self._stages[name] -= 1


def gpus() -> list[str]:
    """Names of the GPUs that this process may use: those in CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and name.strip() != "-1"]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True
    )
    return listed.stdout.split() if listed.returncode == 0 else []


def models_at_once(root: Path) -> int:
    """How many stages may hold the model at once: one for each GPU, or as many as fit into memory; at least one.

    Without GPUs, a stage counts as the whole original in float32, as an evaluation holds it, and the libraries.

    Args:
        root: the repository.
    """
    names = gpus()
    if names:
        return len(names)
    return max(1, int(FRACTION_OF_MEMORY * available_memory() // stage_memory(root)))


def stage_memory(root: Path) -> float:
    """Bytes of a stage that holds the whole original on a CPU; of the libraries alone while there is no manifest."""
    from ream.models.inspection.manifest import load_manifest

    path = root / "artifacts" / "model" / "manifest.json"
    try:
        return LIBRARIES_BYTES + 4.0 * load_manifest(path).parameters
    except UserError:
        return LIBRARIES_BYTES


def available_memory() -> int:
    """Bytes that can be allocated without swapping, by /proc/meminfo."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    raise UserError("/proc/meminfo does not say how much memory is available; set `models`")
