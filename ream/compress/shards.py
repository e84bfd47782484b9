"""Sharing an output's tensors out over shards of another size than the original's."""

from collections.abc import Iterable

from ream.models.checkpoint import SINGLE
from ream.models.shard_writing import OutputTensor


def refilled(tensors: Iterable[OutputTensor], limit: float) -> dict[str, list[OutputTensor]]:
    """Shard names to tensors: in the given order, each shard filled up to ``limit`` bytes of tensors.

    A tensor that is larger has a shard of its own. Names are those that transformers gives, which tell how many shards
    there are; a single one is called as a model in one file.
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
