"""Stage saliency: the statistics of a mix, from those of its sources, and every saliency of its experts."""

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from ream.compress.statistics_file import read_sums
from ream.core.saliency import SALIENCIES
from ream.core.sums import Sums, mixed
from ream.machine.files import replacing
from ream.models.inspection.manifest import load_manifest
from ream.params import Params
from ream.workspace.layout import Workspace


def run(params: Params, workspace: Workspace, mix: str) -> str:
    """Mix the sources' sums (no model is run) and write them with the saliencies of all kinds."""
    ratios = params.mix(mix)
    layers = load_manifest(workspace.manifest).moe_layers
    arrays: dict[str, np.ndarray] = {}
    for index in layers:
        sums = mixed(
            {source: read_sums(workspace.statistics(source), index) for source, ratio in ratios.items() if ratio > 0},
            ratios,
        )
        for name, array in sums.arrays().items():
            arrays[f"layers.{index}.{name}"] = np.asarray(array, order="C")  # ascontiguousarray makes [] into [1]
        for kind, saliency in SALIENCIES.items():
            arrays[f"layers.{index}.saliency.{kind}"] = np.ascontiguousarray(saliency(sums))
    with replacing(workspace.saliency(mix)) as temporary:
        save_file(arrays, temporary, metadata={"mix": mix})
    weights = ", ".join(f"{source} {ratio:.2f}" for source, ratio in ratios.items())
    return f"saliency of mix {mix} ({weights}): {len(layers)} layers"


def read_mixed(workspace: Workspace, mix: str, index: int) -> tuple[Sums, dict[str, np.ndarray]]:
    """The Sums of a mix and the saliencies by kind, of one layer."""
    with safe_open(workspace.saliency(mix), framework="numpy") as file:
        sums = Sums(**{name: np.asarray(file.get_tensor(f"layers.{index}.{name}")) for name in Sums.__annotations__})
        return sums, {kind: file.get_tensor(f"layers.{index}.saliency.{kind}") for kind in SALIENCIES}
