"""The index of a checkpoint, and the names that shards may have.

An index comes from whoever made the checkpoint, and files are read, written and removed by the names in it. So the
names are checked where the index is read, and again where a name becomes a path.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ream.errors import UserError
from ream.machine.files import read_table
from ream.models.storage.shard_header import shown

SUFFIX = ".safetensors"
RECIPE = "recipe.safetensors"  # the file name of a recipe, wherever it lies
FOLDER = "ream"  # the folder of an output in which ream's own files lie
LONGEST_PART = 200  # bytes of a part of a name; with room for the additions to a temporary file's name


@dataclass(frozen=True)
class Index:
    """The content of an index.

    Attributes:
        weight_map: tensor name to the file name of its shard.
        metadata: the rest that is known of an index, such as ``total_size``.
    """

    weight_map: Mapping[str, str]
    metadata: Mapping[str, Any]


def read_index(path: Path) -> Index:
    """Read an index.

    Raises:
        UserError: it is missing or not JSON, has no weight_map of tensor names to shards, names a file that cannot be a
            shard, or has metadata that are not an object.
    """
    table = read_table(path)
    weight_map, metadata = table.get("weight_map"), table.get("metadata") or {}
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise UserError(f"{path} has no table 'weight_map' of tensor names to file names; fetch it again")
    if not weight_map:
        raise UserError(f"{path} names no tensor; fetch it again")
    for name in weight_map:
        if not name.isprintable():
            raise UserError(f"{path}: the tensor name {shown(name)} has characters that cannot be printed")
    for shard in sorted(set(weight_map.values())):
        check_shard_name(shard, str(path))
    if not isinstance(metadata, dict) or not _is_json(metadata):
        raise UserError(f"{path}: 'metadata' is not an object of JSON values; fetch it again")
    return Index(weight_map, metadata)


def _is_json(value: object) -> bool:
    """Whether a value can be written as JSON in UTF-8; Python reads NaN, Infinity and half surrogate pairs."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def compared(
    weight_map: Mapping[str, str], places: Mapping[str, str], replaced: Mapping[str, str], where: str
) -> Iterator[str]:
    """Remarks on how an index and the shards differ, where transformers does not mind; a line each.

    transformers takes from an index only which shards there are, reads everything in them and, of a tensor in two, the
    copy in the later shard. What is read here is the same; an index that says otherwise is refused.

    Args:
        weight_map: tensor name to shard, as the index has it; empty where there is none.
        places: tensor name to the shard from which it is read.
        replaced: tensor name to an earlier shard that has it, too.
        where: the index, for messages.

    Raises:
        UserError: the index places a tensor in a shard from which it is not read.
    """
    for name, shard in weight_map.items():
        if places.get(name) == shard:
            continue
        if replaced.get(name) == shard:
            raise UserError(
                f"{where} places {name} in {shard}, but {places[name]} has it, too, and transformers reads that one; "
                "remove one of the two"
            )
        raise UserError(f"{where} places {name} in {shard}, which lacks it; fetch that shard again")
    unnamed = places.keys() - weight_map.keys() if weight_map else set()
    if replaced:
        yield f"{where}: {len(replaced)} tensors are in two shards, {min(replaced)} first; the later shard's are read"
    if unnamed:
        yield f"{where} does not name {len(unnamed)} tensors of its shards, {min(unnamed)} first; they are read, too"


def check_shard_name(shard: str, where: str) -> None:
    """Refuse a name that a shard cannot have.

    A name is relative, may have folders, and ends in ``.safetensors``. No part begins with a dot, so none is ``..``,
    and folders have no dot at all, so none is a file that ream writes, such as ``ream.json``. Recipes are not
    shards, and neither is anything in the folder where an output has its recipe.

    Args:
        shard: the name.
        where: the file that gives it, for the message.

    Raises:
        UserError: the name is another one.
    """
    *folders, last = shard.split("/")
    allowed = (
        shard.isprintable()
        and "\\" not in shard
        and all(folder and "." not in folder for folder in folders)
        and all(len(part.encode()) <= LONGEST_PART for part in (*folders, last))
        and last.endswith(SUFFIX)
        and not last.startswith(".")
        and last.casefold() != RECIPE
        and (not folders or folders[0].casefold() != FOLDER)
    )
    if not allowed:
        raise UserError(
            f"{where}: {shown(shard)} cannot be a shard: the name must be relative, without '..', end in {SUFFIX}, not "
            f"be {RECIPE} and not lie in a folder {FOLDER}; rename the shard in the index and on disk, or fetch the "
            "checkpoint again"
        )


def shard_path(folder: Path, shard: str) -> Path:
    """The path of a shard in a folder.

    Raises:
        UserError: the name cannot be one of a shard (`check_shard_name`).
    """
    check_shard_name(shard, str(folder))
    return folder / shard
