"""How many stages may hold a model at once, and on which GPU."""

import os
import shutil
import subprocess
from pathlib import Path

from ream.errors import UserError
from ream.machine.memory import LIBRARIES_BYTES

SHARE_OF_MEMORY = 0.8


class Devices:
    """The GPUs that stages are given, one each; none on a machine without."""

    def __init__(self, names: list[str] | None = None) -> None:
        self._names = gpus() if names is None else names
        self._given = dict.fromkeys(self._names, 0)

    def take(self) -> str | None:
        """The GPU that fewest stages have, for CUDA_VISIBLE_DEVICES; None without GPUs."""
        if not self._names:
            return None
        name = min(self._names, key=lambda name: (self._given[name], self._names.index(name)))
        self._given[name] += 1
        return name

    def give_back(self, name: str | None) -> None:
        """A stage has ended."""
        if name is not None:
            self._given[name] -= 1


def gpus() -> list[str]:
    """What this process may use: CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists."""
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
    """Stages that may hold the model at once: as many as there are GPUs, or as the memory takes; at least one.

    Without GPUs a stage is counted with the original's shards in float32, as an evaluation holds them, and the
    libraries.
    """
    found = gpus()
    if found:
        return len(found)
    return max(1, int(SHARE_OF_MEMORY * available_memory() // stage_memory(root)))


def stage_memory(root: Path) -> float:
    """Bytes of a stage that holds the whole original on a CPU; of the libraries alone where it isn't known yet."""
    from ream.models.inspection.manifest import load_manifest

    path = root / "artifacts" / "model" / "manifest.json"
    try:
        return LIBRARIES_BYTES + 4.0 * load_manifest(path).parameters
    except UserError:
        return LIBRARIES_BYTES


def available_memory() -> int:
    """Bytes that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    raise UserError("/proc/meminfo does not say how much memory is free; give `models`")
