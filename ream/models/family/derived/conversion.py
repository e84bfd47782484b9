"""Transformers' conversion on loading a checkpoint: which tensor of the model each tensor on disk goes to, and how."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ream.errors import one_line
from ream.models.family.derived.refusal import PROBED, NotDerivableError


@dataclass(frozen=True)
class Destination:
    """Where a tensor of a checkpoint goes.

    Attributes:
        name: of the tensor in the model.
        position: among the kinds of tensors that make up that one; 0 where there is one.
        kinds: number of these.
        operations: class names of transformers' operations on the way, in order; empty where it is only renamed.
        split: whether several tensors of the model are made of it.
        second: name of the second tensor of the model, where it is split into two.
        axis: along which it is split.
    """

    name: str
    position: int = 0
    kinds: int = 1
    operations: tuple[str, ...] = ()
    split: bool = False
    second: str = ""
    axis: int = 0


def destinations(model: Any, names: Iterable[str]) -> dict[str, Destination]:
    """Where the tensors of a checkpoint go; without those that the model has no use for.

    Args:
        model: without weights, of the class that the checkpoint is written from.
        names: on disk.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import Chunk, WeightConverter, WeightRenaming, rename_source_key

    transforms = get_model_conversion_mapping(model)
    renamings = [transform for transform in transforms if isinstance(transform, WeightRenaming)]
    converters = [transform for transform in transforms if isinstance(transform, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    own, prefix, found = model.state_dict(), model.base_model_prefix, {}
    for name in names:
        target, pattern = rename_source_key(name, renamings, converters, prefix, own)
        if target not in own and name in own:
            target, pattern = rename_source_key(name, [], [], prefix, own)
        if target not in own:
            continue
        if pattern is None:
            found[name] = Destination(target)
        else:
            converter, targets = by_pattern[pattern], by_pattern[pattern].target_patterns
            operations: list[Any] = list(converter.operations)
            chunked = [operation.dim for operation in operations if isinstance(operation, Chunk)]
            found[name] = Destination(
                target,
                converter.source_patterns.index(pattern),
                len(converter.source_patterns),
                tuple(_described(operation) for operation in operations),
                len(targets) > 1,
                targets[1].join(target.rsplit(targets[0], 1)) if len(targets) == 2 else "",
                chunked[0] if chunked else 0,
            )
    return found


def _described(operation: Any) -> str:
    """The class name of an operation; of one that joins tensors, with the axis."""
    name = type(operation).__name__
    return f"{name} along {operation.dim}" if name == "Concatenate" else name


def written(model: Any) -> Mapping[str, tuple[int, ...]]:
    """Names and shapes of the tensors that transformers would write of a model without weights.

    Raises:
        NotDerivableError: transformers cannot turn its own conversion around.
    """
    from transformers.core_model_loading import revert_weight_conversion

    try:
        return {
            name: tuple(tensor.shape) for name, tensor in revert_weight_conversion(model, model.state_dict()).items()
        }
    except PROBED as error:
        raise NotDerivableError(f"transformers cannot say how its tensors lie on disk: {one_line(error)}") from error
