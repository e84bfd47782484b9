"""Opening a model from its config.json and, where it has shards, their headers; no weights are fetched."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ream.models.family.architecture import Architecture, without_multi_token
from ream.models.inspection.admission import admit
from ream.models.inspection.inventory import Inventory, inventory
from ream.models.inspection.manifest import source_of
from ream.models.storage.checkpoint import INDEX, SINGLE, Checkpoint
from ream.models.storage.shard_names import read_index
from ream.models.storage.shard_source import LocalShards, ShardSource

if TYPE_CHECKING:
    from ream.models.family.derived.proof_result import Proof


@dataclass(frozen=True)
class Headers:
    """What the headers of a model tell.

    Attributes:
        checkpoint: of the model; without weights where ``planned``.
        architecture: of the checkpoint.
        parts: how its parameters and bytes are divided.
        revision: commit of a hub model; None for a folder.
        planned: whether there was only a config.json, from which the tensors were planned.
        proof: that a derived family was understood, where there are weights in a folder.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    parts: Inventory
    revision: str | None
    planned: bool
    proof: "Proof | None" = None


def open_headers(
    model: str | ShardSource,
    multi_token: str = "compress",
    trust_remote_code: bool = False,
    against_code: bool = False,
) -> Headers:
    """Open a model without its weights, but for those of one layer of a derived family, if they are in a folder.

    Args:
        model: a folder, with or without shards, or a hub id; or the source of its shards.
        multi_token: what becomes of its multi-token layers, ``compress`` or ``drop``.
        trust_remote_code: let the model's own configuration code run.
        against_code: compare all tensors with the modelling code, too (`admit`).

    Raises:
        UserError: see `source_of`, `PlannedCheckpoint` and `admit`.
    """
    source = source_of(model) if isinstance(model, str) else model
    folder, local = source.folder, isinstance(source, LocalShards)
    planned = local and not has_weights(folder) and not any(folder.glob("*.safetensors"))
    if planned:
        from ream.models.inspection.planned import PlannedCheckpoint  # which imports torch

        admitted = admit(PlannedCheckpoint(folder, trust_remote_code), multi_token, against_code=False)
    else:
        admitted = admit(
            source, multi_token, against_code=against_code, trust_remote_code=trust_remote_code, prove=local
        )
    revision = None if local else folder.name
    opened = headers_of(admitted.checkpoint, admitted.architecture, multi_token, revision, planned)
    return replace(opened, proof=admitted.proof)


def has_weights(folder: Path) -> bool:
    """Whether a folder has a model in one file, or all the shards that its index names.

    Raises:
        UserError: see `read_index`.
    """
    if (folder / SINGLE).exists() or not (folder / INDEX).exists():
        return (folder / SINGLE).exists()
    return all((folder / shard).exists() for shard in set(read_index(folder / INDEX).weight_map.values()))


def headers_of(
    checkpoint: Checkpoint,
    architecture: Architecture,
    multi_token: str = "compress",
    revision: str | None = None,
    planned: bool = False,
) -> Headers:
    """The headers of a checkpoint that is already open.

    Args:
        checkpoint: of the model.
        architecture: of the checkpoint.
        multi_token: what becomes of its multi-token layers, ``compress`` or ``drop``.
        revision: commit of a hub model.
        planned: whether the checkpoint is planned from a config.json.
    """
    if multi_token == "drop" and not architecture.dropped:
        architecture = without_multi_token(architecture)
    return Headers(checkpoint, architecture, inventory(checkpoint, architecture), revision, planned)


def shapes_of(source: ShardSource) -> dict[str, tuple[int, ...] | None]:
    """The shapes of a model's tensors, whatever its family.

    Returns:
        Name to shape. Without shards: the names in the index to None, or nothing where there is no index.

    Raises:
        UserError: see `Checkpoint`.
    """
    folder = source.folder
    if has_weights(folder) or not isinstance(source, LocalShards):
        checkpoint = Checkpoint(source)
        return {name: checkpoint.shape(name) for name in checkpoint.logical}
    return dict.fromkeys(read_index(folder / INDEX).weight_map if (folder / INDEX).exists() else ())
