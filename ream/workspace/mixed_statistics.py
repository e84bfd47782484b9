"""The file of a mix's statistics: the sums of every layer and every saliency of its experts."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from ream.core.saliency import SALIENCIES
from ream.core.sums import Sums
from ream.machine.files import replacing


def write_mixed(path: Path, mix: str, layers: Mapping[int, Sums]) -> None:
    """Write the sums of a mix and the saliencies of all kinds that follow from them.

    Args:
        path: the safetensors file.
        mix: name of the mix, which the metadata hold.
        layers: layer index to the sums of the mix.
    """
    arrays: dict[str, np.ndarray] = {}
    for index, sums in layers.items():
        for name, array in sums.arrays().items():
            arrays[f"layers.{index}.{name}"] = np.asarray(array, order="C")  # ascontiguousarray makes [] into [1]
        for kind, saliency in SALIENCIES.items():
            arrays[f"layers.{index}.saliency.{kind}"] = np.ascontiguousarray(saliency(sums))
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"mix": mix})


def read_mixed(path: Path, index: int) -> tuple[Sums, dict[str, np.ndarray]]:
    """The sums of a mix and the saliencies by kind, float64 [N], of one layer."""
    with safe_open(path, framework="numpy") as file:
        sums = Sums(**{name: np.asarray(file.get_tensor(f"layers.{index}.{name}")) for name in Sums.__annotations__})
        return sums, {kind: file.get_tensor(f"layers.{index}.saliency.{kind}") for kind in SALIENCIES}
