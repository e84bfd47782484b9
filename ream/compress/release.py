"""Letting go of shards that are not needed any more, so that of a hub model only a part is on the disk at a time.

Of a folder, or where shards are kept, nothing happens (`ShardSource.drop`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ream.models.architecture import Architecture
from ream.models.checkpoint import Checkpoint
from ream.models.shard_writing import OutputTensor


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


def releasing(
    shards: Mapping[str, Sequence[OutputTensor]], drop: Callable[[str], None]
) -> dict[str, list[OutputTensor]]:
    """The same tensors to write; when the last that reads a shard of the original is made, the shard is dropped."""
    last = {shard: tensor.name for tensors in shards.values() for tensor in tensors for shard in tensor.reads}
    done: dict[str, list[str]] = {}
    for shard, name in last.items():
        done.setdefault(name, []).append(shard)

    def then_drop(tensor: OutputTensor) -> OutputTensor:
        if tensor.name not in done:
            return tensor

        def make() -> Iterator[bytes | bytearray]:
            yield from tensor.make()
            for shard in done[tensor.name]:
                drop(shard)

        return replace(tensor, make=make)

    return {shard: [then_drop(tensor) for tensor in tensors] for shard, tensors in shards.items()}


def shards_of(checkpoint: Checkpoint, names: Iterable[str]) -> frozenset[str]:
    """Where tensors of the model lie."""
    return frozenset(info.shard for name in names for info in checkpoint.headers_of(name).values())
