"""Distributing an output's tensors over shards of another size than the original's, and dropping shards once read."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ream.models.storage.checkpoint import SINGLE
from ream.models.storage.shard_writing import OutputTensor


def refilled(tensors: Iterable[OutputTensor], limit: float) -> dict[str, list[OutputTensor]]:
    """Shard names to tensors, in the given order: each shard is filled up to ``limit`` bytes of tensors.

    A tensor that is larger has a shard of its own. Names are those that transformers gives, which say how many shards
    there are; a single shard has the name of a model in one file.
    """
    shards: list[list[OutputTensor]] = [[]]
    room = limit
    for tensor in tensors:
        if shards[-1] and tensor.bytes > room:
            shards.append([])
            room = limit
        shards[-1].append(tensor)
        room -= tensor.bytes
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    return {f"model-{number:05d}-of-{len(shards):05d}.safetensors": shard for number, shard in enumerate(shards, 1)}


def releasing(
    shards: Mapping[str, Sequence[OutputTensor]], drop: Callable[[str], None]
) -> dict[str, list[OutputTensor]]:
    """The same tensors to write, which drop a shard of the original once the last tensor that reads it is made.

    Args:
        shards: shard names of the output to their tensors, in the order in which they are written.
        drop: is given the name of a shard of the original.
    """
    last_reader = {shard: tensor.name for tensors in shards.values() for tensor in tensors for shard in tensor.reads}
    read_last: dict[str, list[str]] = {}
    for shard, name in last_reader.items():
        read_last.setdefault(name, []).append(shard)

    def then_drop(tensor: OutputTensor) -> OutputTensor:
        """The tensor itself, or one that drops the shards which nothing reads after it."""
        if tensor.name not in read_last:
            return tensor

        def make() -> Iterator[bytes | bytearray]:
            """The tensor's bytes; once they have been taken, the shards are dropped."""
            yield from tensor.make()
            for shard in read_last[tensor.name]:
                drop(shard)

        return replace(tensor, make=make)

    return {shard: [then_drop(tensor) for tensor in tensors] for shard, tensors in shards.items()}
