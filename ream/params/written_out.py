"""A params file and what it extends, written out as one whole file with its comments, as DVC needs it."""

import hashlib
import re
from pathlib import Path
from typing import Any

from ream.errors import UserError
from ream.machine.documents import parse_yaml, read_text
from ream.machine.files import replacing
from ream.params.overlay import layers, merged
from ream.params.reading import parse_params

MARK = (
    "# Written by `ream params resolve {path}`: change that file and run it again. SHA-256 of what follows: {digest}\n"
)
MARKED = re.compile(r"# Written by `ream params resolve .*SHA-256 of what follows: ([0-9a-f]{64})\n")


def written_out(path: Path) -> str:
    """The text of a params file with everything that it takes over; one that extends nothing, as it is.

    The comments are those of the whole file at the bottom. The values are the same as the overlays give
    (`ream.params.overlay.merged`).

    Raises:
        UserError: see `ream.params.overlay.layers` and `parse_params`.
    """
    files = layers(path)
    text = read_text(files[0].path)
    if len(files) == 1:
        parse_params(parse_yaml(text, str(path)), str(path))
        return text
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    wanted = merged(files)
    parse_params(wanted, str(path))
    tree: Any = parse_yaml_for_update(text, files[0].path)
    _bring(tree, wanted)
    written = str(dumps_yaml(tree))
    if parse_yaml(written, str(path)) != wanted:  # where comments stand in the way of the values
        written = str(dumps_yaml(wanted))
    return written


def _bring(tree: Any, wanted: dict[Any, Any]) -> None:
    """Change a table with comments in place, so that it has the wanted values; what stays keeps its comments."""
    for key in [key for key in tree if key not in wanted]:
        del tree[key]
    for key, value in wanted.items():
        if key in tree and isinstance(tree[key], dict) and isinstance(value, dict) and value:
            _bring(tree[key], value)
        elif key not in tree or tree[key] != value:
            tree[key] = value


def resolve(path: Path, out: Path, force: bool = False) -> None:
    """Write a params file out as a whole into another, as a first line says.

    Args:
        path: the file, which may extend others.
        out: the file to write, such as a workspace's params.yaml.
        force: replace whatever the file has; otherwise only what `resolve` wrote and nobody changed.

    Raises:
        UserError: see `written_out`; or the file has something that no other file has.
    """
    body = written_out(path)
    if out.exists():
        if out.resolve() in {layer.path.resolve() for layer in layers(path)}:
            raise UserError(f"{out} is what {path} is made of, so it cannot be written over; name another --out")
        if not force and not _is_ours(read_text(out)):
            raise UserError(
                f"{out} was not written by `ream params resolve`, or was changed since; keep its changes in a file of "
                "their own, or replace it with --force"
            )
    with replacing(out) as temporary:
        temporary.write_text(MARK.format(path=path, digest=_digest(body)) + body, encoding="utf-8")


def _is_ours(text: str) -> bool:
    """Whether `resolve` wrote a text and nobody changed it since."""
    first, _, body = text.partition("\n")
    mark = MARKED.fullmatch(f"{first}\n")
    return mark is not None and mark[1] == _digest(body)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
