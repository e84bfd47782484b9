"""What a flow needs to know of its surroundings: the repository, Prefect's server, changed params."""

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from ream.errors import UserError
from ream.machine.files import replacing
from ream.params import parse_params

REPOSITORY = "REAM_REPOSITORY"
HOST = "127.0.0.1"
PORT = 4200


def repository() -> Path:
    """The folder of dvc.yaml: of the environment variable REAM_REPOSITORY, else this one or the nearest above it.

    Raises:
        UserError: there is none.
    """
    start = Path(os.environ.get(REPOSITORY, ".")).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").exists():
            return folder
    raise UserError(f"no dvc.yaml in {start} or above it; run this inside the repository")


def prepare(root: Path) -> None:
    """Settings of Prefect for this process and its children, where the environment doesn't say otherwise.

    Its database lies under .prefect/, nothing is told to anybody, and a task that waits for a slot asks every second.
    Prefect reads them when it is imported.
    """
    home = root / ".prefect"
    for name, value in {
        REPOSITORY: str(root),
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_TASKS_TAG_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
        "PREFECT_CLI_COLORS": "false",
    }.items():
        os.environ.setdefault(name, value)
    home.mkdir(exist_ok=True)


def check_server() -> None:
    """Refuse a server that does not answer; without PREFECT_API_URL Prefect starts its own.

    Raises:
        UserError: names the address.
    """
    import httpx

    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=10).raise_for_status()
    except httpx.HTTPError as error:
        raise UserError(
            f"Prefect's server at {url} can't be reached ({error}); start it with `make ui`, or unset PREFECT_API_URL"
        ) from None


def parse_assignments(texts: list[str]) -> dict[str, Any]:
    """``NAME=VALUE`` to {name: value}, values as YAML reads them.

    Raises:
        UserError: there is no ``=``.
    """
    import yaml

    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UserError(f"'{text}' is not NAME=VALUE, as in mixes.balanced.code=0.5")
        found[name.strip()] = yaml.safe_load(value)
    return found


def change_params(path: Path, values: Mapping[str, Any]) -> None:
    """Write new values into a params file, whose comments and order stay; nothing is written unless all are valid.

    Args:
        path: the params file.
        values: new values by dotted name. Entries that take over others by a YAML merge keep their own values.

    Raises:
        UserError: a name leads nowhere, or the file would not be valid.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 120
    text = path.read_text(encoding="utf-8")
    tree, wanted = yaml.load(text), YAML(typ="safe").load(text)
    for name, value in values.items():
        for whole in (tree, wanted):
            _set(whole, name.split("."), value, name, path)
    parse_params(wanted, str(path))
    stream = StringIO()
    yaml.dump(tree, stream)
    written = YAML(typ="safe").load(stream.getvalue())
    if written != wanted:  # another entry takes over a changed one: it gets its own value as it was
        for parts, value in _differences(written, wanted):
            _set(tree, parts, value, ".".join(map(str, parts)), path)
        stream = StringIO()
        yaml.dump(tree, stream)
    with replacing(path) as temporary:
        temporary.write_text(stream.getvalue(), encoding="utf-8")


def _set(tree: Any, parts: list[Any], value: Any, name: str, path: Path) -> None:
    for part in parts[:-1]:
        key = _key(tree, part)
        if not isinstance(tree, dict) or key not in tree:
            raise UserError(f"{path} has no '{name}': there is no '{part}' to change; names are those of the file")
        tree = tree[key]
    if not isinstance(tree, dict):
        raise UserError(f"{path} has no '{name}': it leads into a single value; names are those of the file")
    tree[_key(tree, parts[-1])] = value


def _key(tree: Any, part: Any) -> Any:
    """Keys are strings but for numbers of experts."""
    numbers = isinstance(tree, dict) and any(isinstance(key, int) for key in tree)
    return int(part) if numbers and str(part).isdigit() else part


def _differences(found: Any, wanted: Any, parts: tuple[Any, ...] = ()) -> list[tuple[list[Any], Any]]:
    """(path, wanted value) wherever two trees of the same names differ."""
    if isinstance(found, dict) and isinstance(wanted, dict) and found.keys() == wanted.keys():
        return [pair for key in wanted for pair in _differences(found[key], wanted[key], (*parts, key))]
    return [] if found == wanted else [(list(parts), wanted)]
