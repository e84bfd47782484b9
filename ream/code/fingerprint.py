"""The fingerprint of a stage's code: what it consists of, its JSON, and how two differ."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SHORT = 12  # hexadecimal digits of a unit's hash


@dataclass(frozen=True)
class Fingerprint:
    """The code that a stage can execute.

    Attributes:
        hashes: unit or file of the package to the short hash of its meaning, sorted. A unit is "module.name", or
            "module.<import>" for what importing the module runs; a file is a path from the package's parent folder.
        modules: the modules that are imported, sorted.
        libraries: libraries that numbers depend on to their versions; None where one is not installed.
    """

    hashes: Mapping[str, str]
    modules: tuple[str, ...]
    libraries: Mapping[str, str | None]

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the units and files, sorted."""
        return tuple(self.hashes)

    @property
    def digest(self) -> str:
        """SHA-256 over the units and their hashes, in hexadecimal; the libraries are not part of it."""
        lines = "".join(f"{unit} {short}\n" for unit, short in sorted(self.hashes.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """What a file holds of it: all but the modules."""
        return {"digest": self.digest, "libraries": dict(self.libraries), "units": dict(self.hashes)}


def explain(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, one line each: "ream.core.saliency.reap changed", "torch 2.9.0 → 2.9.1".

    Args:
        old: `Fingerprint.as_json` of the earlier one.
        new: that of the later one.

    Returns:
        Lines in alphabetical order, units before libraries; none where both are equal.
    """
    lines = []
    before, after = old["units"], new["units"]
    for unit in sorted({*before, *after}):
        if before.get(unit) != after.get(unit):
            lines.append(f"{unit} {'added' if unit not in before else 'removed' if unit not in after else 'changed'}")
    before, after = old["libraries"], new["libraries"]
    for library in sorted({*before, *after}):
        earlier, later = (each.get(library) or "none" for each in (before, after))
        if earlier != later:
            lines.append(f"{library} {earlier} → {later}")
    return lines
