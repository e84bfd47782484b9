"""The file of a mix's statistics: the sums of every layer, every saliency of its experts, and what they come from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from ream.core.saliency import SALIENCIES, available
from ream.core.sums import Sums
from ream.machine.documents import parse_json
from ream.machine.files import replacing

ROUTED = "routed_tokens"
KEY = "ream"  # one key, because safetensors writes several of them in an order that changes


@dataclass(frozen=True)
class SourceDigests:
    """What the statistics of a mix have taken from one source.

    Attributes:
        corpus: SHA-256 of its calibration sequences.
        layers: layer index to the SHA-256 of the file of its statistics, whose probes the alignment reads.
        sequences: how many of them, the first ones, were measured; None for all.
    """

    corpus: str
    layers: dict[int, str]
    sequences: int | None = None

    def described(self) -> dict[str, Any]:
        """The fields as JSON; without the number of sequences where all were measured."""
        fields = asdict(self)
        return {name: value for name, value in fields.items() if value is not None}


def write_mixed(
    path: Path,
    mix: str,
    layers: Mapping[int, Sums],
    sources: Mapping[str, SourceDigests],
    routed_tokens: Mapping[int, np.ndarray],
) -> None:
    """Write the sums of a mix and the saliencies of all kinds that follow from them.

    Args:
        path: the safetensors file.
        mix: name of the mix, which the metadata hold.
        layers: layer index to the sums of the mix.
        sources: source to what was read of it. Through this file, what depends on the mix depends on its own sources
            alone, and not on all that the graph has.
        routed_tokens: layer index to the number of tokens routed to each expert, [N] float64, over all sources of the
            mix; the sums of a mix are means.
    """
    arrays: dict[str, np.ndarray] = {}
    for index, sums in layers.items():
        for name, array in sums.arrays().items():
            arrays[f"layers.{index}.{name}"] = np.asarray(array, order="C")  # ascontiguousarray makes [] into [1]
        for kind, saliency in available(sums).items():
            arrays[f"layers.{index}.saliency.{kind}"] = np.ascontiguousarray(saliency)
        arrays[f"layers.{index}.{ROUTED}"] = np.ascontiguousarray(routed_tokens[index])
    described = json.dumps(
        {"mix": mix, "sources": {source: digests.described() for source, digests in sources.items()}}
    )
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={KEY: described})


def read_mixed(path: Path, index: int) -> tuple[Sums, dict[str, np.ndarray]]:
    """The sums of a mix and the saliencies by kind, float64 [N], of one layer."""
    with safe_open(path, framework="numpy") as file:
        start = f"layers.{index}."
        found = {name.removeprefix(start) for name in file.keys() if name.startswith(start)}  # noqa: SIM118
        sums = Sums.of({name: np.asarray(file.get_tensor(start + name)) for name in found & set(Sums.__annotations__)})
        kinds = [kind for kind in SALIENCIES if f"saliency.{kind}" in found]
        return sums, {kind: file.get_tensor(f"{start}saliency.{kind}") for kind in kinds}


def read_routed(path: Path, index: int) -> np.ndarray:
    """The number of tokens routed to each expert of one layer over all sources of the mix, float64 [N]."""
    with safe_open(path, framework="numpy") as file:
        routed: np.ndarray = file.get_tensor(f"layers.{index}.{ROUTED}")
    return routed


def read_sources(path: Path) -> dict[str, SourceDigests]:
    """Source to what the statistics of a mix have taken from it; sources with ratio 0 are not among them."""
    with safe_open(path, framework="numpy") as file:
        described = parse_json(file.metadata()[KEY], str(path))["sources"]
    return {
        source: SourceDigests(
            entry["corpus"],
            {int(index): digest for index, digest in entry["layers"].items()},
            entry.get("sequences"),
        )
        for source, entry in described.items()
    }
