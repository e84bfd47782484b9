"""Dropping shards that are no longer needed, so that only part of a hub model is on the disk at a time.

Nothing is dropped of a local folder, or where shards are to be kept (`ShardSource.drop`).
"""

from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint


def release(checkpoint: Checkpoint, architecture: Architecture, layer: int) -> None:
    """Drop the shards that no layer from ``layer`` on reads; all of them once the last layer is done.

    Args:
        checkpoint: of the model.
        architecture: of the model.
        layer: index of the next layer to read.
    """
    remaining = range(layer, architecture.depth)
    prefixes = tuple(architecture.layer_prefix(index) for index in remaining)
    family, names = architecture.family, set()
    for index in remaining:
        if index >= architecture.layers and family.multi_token is not None:
            names |= {architecture.multi_token_name(index, name) for name in family.multi_token.own}
            names |= {family.embedding, family.final_norm}
    needed = {
        info.shard
        for name in checkpoint.logical
        if name.startswith(prefixes) or name in names
        for info in checkpoint.headers_of(name).values()
    }
    for shard in checkpoint.shards:
        if shard not in needed:
            checkpoint.source.drop(shard)
