"""Sharing an output's tensors out over shards of another size than the original's."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ream.models.storage.checkpoint import SINGLE
from ream.models.storage.shard_writing import OutputTensor


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
