"""The files of one source's statistics, readable without torch."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from ream.core.sums import Sums


def layer_file(folder: Path, index: int) -> Path:
    """The file of a layer in the folder of a source's statistics, or of a walk's state."""
    return folder / f"layer-{index:03d}.safetensors"


def read_sums(folder: Path, index: int) -> Sums:
    """The Sums of one layer and source, without the probes."""
    with safe_open(layer_file(folder, index), framework="numpy") as file:
        return Sums(**{name: np.asarray(file.get_tensor(name)) for name in Sums.__annotations__})
