"""What a recipe file must have to be one, checked before an array of it is read: names, dtypes, shapes and facts."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ream.errors import UserError
from ream.models.storage.shard_header import Entry, entries_of, shown
from ream.models.storage.shard_source import local_header
from ream.models.stored_dtypes import STORED

WHOLE, FLOATS = frozenset({"I16", "I32", "I64"}), frozenset({"F64", "F32"})
# Array of a layer to its dtypes and axes: K kept experts, N experts, A absorbed ones, D neurons, M groups of several, H
# numbers of a router's row.
ARRAYS: dict[str, tuple[frozenset[str], str]] = {
    "kept": (WHOLE, "K"),
    "group": (WHOLE, "N"),
    "weights": (FLOATS, "N"),
    "saliency": (FLOATS, "N"),
    "routed_tokens": (FLOATS, "N"),
    "router": (frozenset({"F32"}), "KH"),
    "absorbed": (WHOLE, "A"),
    "permutations": (WHOLE, "AD"),
    "assembled": (WHOLE, "M"),
    "neurons": (WHOLE, "MD"),
}
OPTIONAL = {"assembled", "neurons"}  # both or neither
LATER = {"routed_tokens", "router"}  # which recipes of earlier versions, or other methods, do not have
CORRECTIONS = frozenset({"F64", "F32", "F16", "BF16"})
NAME = re.compile(r"layers\.(0|[1-9][0-9]{0,3})\.(?:(?P<array>[a-z_]+)|(?:down|gate|up)\.(?:0|[1-9][0-9]{0,4}))")
MOST_BYTES = 2 * 1024**3  # of all arrays, which are read into memory; corrections stay in the file
AGAIN = "make or fetch it again"

Count = Annotated[int, Field(ge=1, lt=1 << 31)]
Ratio = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Facts(BaseModel):
    """What a recipe says of itself: the facts that its card tells and that a compression compares; any others, too."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: str
    digest: str
    method: str
    mix: str
    ratios: dict[str, Ratio]
    experts: Count
    original_experts: Count
    tokens: Count
    seed: int
    ream: str


def check_header(path: str | Path) -> list[Entry]:
    """The arrays of a file, once its header obeys the rules of safetensors.

    Raises:
        UserError: the file is missing or no regular one, or its header breaks a rule (`entries_of`).
    """
    try:
        header = local_header(Path(path))
        return entries_of(str(path), header.raw, header.size)
    except UserError as error:
        raise UserError(f"recipe {path} is damaged ({error})") from None


def check_facts(path: str | Path, facts: Any) -> None:
    """Refuse facts of a recipe that are missing or of another type.

    Raises:
        UserError: names the first.
    """
    try:
        Facts.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"recipe {path} is damaged (its fact {shown(where)}: {first['msg']}); {AGAIN}") from None


def check_arrays(path: str | Path) -> None:
    """Refuse a file whose header is not a recipe's: names, dtypes, and shapes that belong together.

    Raises:
        UserError: see `check_header`; or an array is missing, unknown, too large, or has another dtype or shape than a
            recipe's.
    """
    layers: dict[int, dict[str, Entry]] = {}
    total = 0
    for entry in check_header(path):
        match = NAME.fullmatch(entry.name)
        if match is None or (match["array"] and match["array"] not in ARRAYS):
            raise UserError(f"recipe {path} is damaged (it has {shown(entry.name)}, which no recipe has); {AGAIN}")
        arrays = layers.setdefault(int(match[1]), {})
        if match["array"]:
            arrays[match["array"]] = entry
            total += entry.end - entry.begin
        elif entry.dtype not in CORRECTIONS or len(entry.shape) != 2:
            raise _unfit(path, entry, f"a matrix of {' or '.join(sorted(CORRECTIONS))}")
    if not layers:
        raise UserError(f"recipe {path} is damaged (it has no layer); {AGAIN}")
    if total > MOST_BYTES:
        raise UserError(f"recipe {path} is damaged (its arrays have {total:,} bytes, at most {MOST_BYTES:,}); {AGAIN}")
    for layer, arrays in layers.items():
        _check_layer(path, layer, arrays)


def check_finite(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse weights and saliencies that are NaN or infinite.

    Raises:
        UserError: names the array.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UserError(f"recipe {path} is damaged ({name} holds NaN or Inf); {AGAIN}")


def _check_layer(path: str | Path, layer: int, arrays: Mapping[str, Entry]) -> None:
    """Refuse a layer whose arrays are not all there or do not have the dtypes and the axes of ARRAYS."""
    missing = ARRAYS.keys() - arrays.keys() - LATER - (set() if OPTIONAL & arrays.keys() else OPTIONAL)
    if missing:
        raise UserError(f"recipe {path} is damaged (layers.{layer}.{min(missing)} is missing); {AGAIN}")
    lengths: dict[str, int] = {}
    for name, entry in arrays.items():
        dtypes, axes = ARRAYS[name]
        if entry.dtype not in dtypes or len(entry.shape) != len(axes):
            raise _unfit(path, entry, f"{len(axes)} axes of {' or '.join(sorted(dtypes))}")
        if not all(lengths.setdefault(axis, length) == length for axis, length in zip(axes, entry.shape, strict=True)):
            if not entry.shape[0]:  # of no absorbed expert: [0, 0], whatever the width
                continue
            raise _unfit(path, entry, ", ".join(f"{axis} = {lengths[axis]}" for axis in axes))


def _unfit(path: str | Path, entry: Entry, needed: str) -> UserError:
    """The error for an array of another dtype or shape."""
    what = f"{entry.name} is {STORED[entry.dtype].torch} {shown(list(entry.shape))}"
    return UserError(f"recipe {path} is damaged ({what}, where {needed} is expected); {AGAIN}")
