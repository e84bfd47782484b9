"""Params files that say only what differs from another file, which their key ``extends`` names.

What is merged: sections, and the keys or entries in them; in ``suites``, also the keys of each suite. A value that is
given replaces the other file's as a whole, so a mix, source, method, list or table of group sizes is never half one and
half the other. ``null`` takes an entry of the other file away. What the other file's run and exports name and the new
run has no longer is left out: mixes of ``run.rank`` and ``run.extra``, and exports of other cells. A file that names
methods in ``run.one_shot`` or ``run.sequential`` runs these alone, so the other's ``run.extra`` is left out.

DVC reads params.yaml itself and knows nothing of this, so there the whole file is written out (`ream params resolve`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ream.errors import UserError, unknown
from ream.machine.documents import read_yaml
from ream.machine.shipped import default_settings, presets

EXTENDS = "extends"
DEFAULT = "default"  # the settings that ship
DEEPER = ("suites",)  # sections whose entries are merged key by key
MOST_FILES = 10
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Layer:
    """A params file as it is written.

    Attributes:
        path: the file.
        tree: its content, without ``extends``.
    """

    path: Path
    tree: dict[str, Any]


def layers(path: Path) -> list[Layer]:
    """A params file and those that it extends, the whole one first.

    Raises:
        UserError: a file is missing, not YAML or no table, extends nothing that there is, or extends itself.
    """
    found: list[Layer] = []
    seen: list[Path] = []
    while True:
        if path.resolve() in seen:
            names = " extends ".join(str(layer.path) for layer in reversed(found))
            raise UserError(f"{names} extends {path} again; take one `{EXTENDS}` out")
        if len(found) == MOST_FILES:
            raise UserError(f"{found[-1].path} extends {MOST_FILES} files, one over the other; extend fewer")
        tree = read_params(path)
        if not isinstance(tree, dict):
            raise UserError(f"{path} is not a table of sections such as model and run")
        base = tree.get(EXTENDS)
        found.insert(0, Layer(path, {key: value for key, value in tree.items() if key != EXTENDS}))
        seen.append(path.resolve())
        if EXTENDS not in tree:
            return found
        path = extended(base, path)


def extended(name: Any, path: Path) -> Path:
    """The params file that a file extends.

    Args:
        name: value of its ``extends``: ``default``, a preset, or a path (with a ``/`` or .yaml), relative to the file.
        path: the file.

    Raises:
        UserError: there is no such preset or file.
    """
    if not isinstance(name, str) or not name:
        raise UserError(f"{path}: {EXTENDS} is {name!r}; name one params file or preset, such as {DEFAULT}")
    if "/" in name or name.endswith(ENDINGS):
        found = path.parent / Path(name).expanduser()
        if not found.is_file():
            raise UserError(f"{path}: {EXTENDS} names {name}, but {found} does not exist; correct the path")
        return found
    known = {DEFAULT: default_settings(), **presets()}
    if name not in known:
        raise unknown(f"{path}: {EXTENDS}:", name, known, "ream")
    return known[name]


def read_params(path: str | Path) -> Any:
    """The content of a single params file, without what it extends.

    Raises:
        UserError: see `read_yaml`; the file is missing.
    """
    if not Path(path).exists():
        raise UserError(f"{path} does not exist; run from the repository's root or name the file with --params")
    return read_yaml(path)


def merged(files: list[Layer]) -> dict[str, Any]:
    """The tree of a file and of those that it extends, of which the first is whole."""
    tree: dict[str, Any] = files[0].tree
    for layer in files[1:]:
        tree = _fitting(_over(tree, layer.tree, 1), layer.tree)
    return tree


def _over(base: Mapping[str, Any], given: Mapping[str, Any], depth: int, section: str = "") -> dict[str, Any]:
    """A table over another: entries of the other first, then those given, without those given as null."""
    result = {key: value for key, value in base.items() if key not in given}
    for key, value in given.items():
        below, name = base.get(key), section or str(key)
        deeper = depth == 1 or (depth == 2 and name in DEEPER)
        if deeper and isinstance(value, dict) and isinstance(below, dict):
            result[key] = _over(below, value, depth + 1, name)
        elif value is not None:
            result[key] = value
    return result


def _fitting(tree: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The tree without what it took over about cells that its run no longer has; the checks find what is wrong."""
    run, own_run, own_exports = (_table(value) for value in (tree.get("run"), given.get("run"), given.get("exports")))
    mixes = run.get("mixes")
    if not isinstance(mixes, list):
        return tree
    run, extra = dict(run), _table(run.get("extra"))
    if "rank" not in own_run and "rank" in run:
        run["rank"] = [mix for mix in _list(run["rank"]) if mix in mixes]
    if "extra" not in own_run and extra and ("one_shot" in own_run or "sequential" in own_run):
        run["extra"] = {"mixes": [], "one_shot": [], "sequential": []}
    elif "extra" not in own_run and "mixes" in extra:
        run["extra"] = {**extra, "mixes": [mix for mix in _list(extra["mixes"]) if mix in mixes]}
    changed = {**tree, "run": run}
    if isinstance(tree.get("exports"), dict):
        exports = tree["exports"].items()
        changed["exports"] = {name: export for name, export in exports if name in own_exports or _is_cell(export, run)}
    return changed


def _is_cell(export: Any, run: Mapping[str, Any]) -> bool:
    """Whether an export is a cell of a run."""
    cell, extra = _table(export), _table(run.get("extra"))
    methods = _list(run.get("one_shot")) + _list(run.get("sequential"))
    if cell.get("mix") in _list(extra.get("mixes")):
        methods += _list(extra.get("one_shot")) + _list(extra.get("sequential"))
    inside = cell.get("mix") in _list(run.get("mixes")) and cell.get("experts") in _list(run.get("experts"))
    return inside and cell.get("method") in methods


def _table(value: Any) -> Mapping[str, Any]:
    """A table; none where a file has something else, which the checks refuse."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    """A list; none where a file has something else, which the checks refuse."""
    return value if isinstance(value, list) else []


def refuse_overlay(path: Path) -> None:
    """Refuse a params file that extends another where DVC reads it.

    Raises:
        UserError: it does; says how to write it out.
    """
    tree = read_params(path)
    if isinstance(tree, dict) and EXTENDS in tree:
        raise UserError(
            f"{path} extends {tree[EXTENDS]}, which DVC cannot see; give that file another name, such as mine.yaml, "
            f"and write it out: ream params resolve mine.yaml --out {path}"
        )
