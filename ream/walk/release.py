"""Letting go of shards that are not needed any more, so that of a hub model only a part is on the disk at a time.

Of a folder, or where shards are kept, nothing happens (`ShardSource.drop`).
"""

from ream.models.family.architecture import Architecture
from ream.models.storage.checkpoint import Checkpoint


def release(checkpoint: Checkpoint, architecture: Architecture, layer: int) -> None:
    """Drop the shards of which no layer from ``layer`` on reads a tensor; beyond the last layer, all."""
    to_come = range(layer, architecture.depth)
    prefixes = tuple(architecture.layer_prefix(index) for index in to_come)
    family, names = architecture.family, set()
    for index in to_come:
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
