"""The files of one source's statistics, readable without torch."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from ream.core.sums import Sums
from ream.walk.layer_file import layer_file


def read_sums(folder: Path, index: int) -> Sums:
    """The Sums of one layer and source, without the probes."""
    with safe_open(layer_file(folder, index), framework="numpy") as file:
        return Sums.of({name: np.asarray(file.get_tensor(name)) for name in file.keys() if name != "probes"})  # noqa: SIM118
