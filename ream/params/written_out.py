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

MARK = "# Written by `{command}`: {advice}. SHA-256 of what follows: {digest}\n"
MARKED = re.compile(r"# Written by `(.*)`: .*\. SHA-256 of what follows: ([0-9a-f]{64})")
RESOLVE = "ream params resolve"


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
        if not force and not unchanged(read_text(out), RESOLVE):
            raise UserError(
                f"{out} was not written by `{RESOLVE}`, or was changed since; keep its changes in a file of "
                "their own, or replace it with --force"
            )
    with replacing(out) as temporary:
        temporary.write_text(marked(body, f"{RESOLVE} {path}", "change that file and run it again"), encoding="utf-8")


def marked(body: str, command: str, advice: str) -> str:
    """A params file that a command makes, with a first line that says so and tells whether it was changed since.

    Args:
        body: the file; such a line that it has of another command goes.
        command: the command that makes it.
        advice: what to do in place of changing the file.
    """
    first, _, rest = body.partition("\n")
    body = rest if MARKED.fullmatch(first) else body
    return MARK.format(command=command, advice=advice, digest=_digest(body)) + body


def unchanged(text: str, command: str) -> bool:
    """Whether a params file is what a command of that name made and nobody changed since (`marked`)."""
    first, _, body = text.partition("\n")
    mark = MARKED.fullmatch(first)
    return mark is not None and mark[1].startswith(f"{command} ") and mark[2] == _digest(body)


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
