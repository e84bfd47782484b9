"""The code and the libraries that a stage runs with, and what the stage code has recorded of them."""

import hashlib
import json
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ream
from ream.calibration.installation import installed
from ream.code.code import Code
from ream.code.fingerprint import explain
from ream.code.kinds import cuts_of, roots_of
from ream.errors import UserError
from ream.machine.files import read_json
from ream.machine.scratch import without_workspace
from ream.workspace.held_settings import ChangedError
from ream.workspace.layout import Workspace
from ream.workspace.outputs import OUTPUTS

PACKAGE = Path(ream.__file__).parent
WITHOUT = ("names", "code")  # the stages that run before there are fingerprints
KINDS = tuple(kind for kind in OUTPUTS if kind not in WITHOUT)  # the stages that have one
_read: dict[str, Any] = {}  # what this process has read of the sources
PARTS = ("libraries", "units")  # of a fingerprint, in a record
NAMED = 3  # changes that a message names


def fingerprints() -> dict[str, dict[str, Any]]:
    """Kind of stage to the fingerprint of the code that it can execute now: units and libraries."""
    return _fingerprints(KINDS)


def fingerprint_of(*kinds: str) -> dict[str, Any]:
    """The fingerprint of the code that some kinds of stages can execute now."""
    found = _fingerprints(kinds).values()
    return {part: {name: value for own in found for name, value in own[part].items()} for part in PARTS}


def _fingerprints(kinds: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Kind of stage to its fingerprint, all of one look at the sources."""
    code = _code()
    prints: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        described = code.fingerprint(roots_of(kind), cuts_of(kind)).as_json()
        prints[kind] = {part: described[part] for part in PARTS}
    with suppress(UserError):  # what was parsed is kept where that is possible: it only saves time
        code.save()
    if "inputs" in prints:  # it records what the built-in text is read from
        prints["inputs"]["libraries"]["all packages"] = installed()
    return prints


def _code() -> Code:
    """The sources as they are now; those that this process has read before are read again if a file has changed."""
    stamps = frozenset(
        (str(path), status.st_mtime_ns, status.st_size)
        for path in PACKAGE.rglob("*")
        if path.suffix != ".pyc" and stat.S_ISREG((status := path.stat()).st_mode)
    )
    if _read.get("stamps") != stamps:
        _read.update(stamps=stamps, code=Code(PACKAGE, without_workspace().parent / "parsed"))
    code: Code = _read["code"]
    return code


def identity(fingerprint: dict[str, Any]) -> str:
    """SHA-256 of a fingerprint, its libraries included."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


def checked_code(workspace: Workspace, kind: str) -> str:
    """The identity of the code of a kind of stage, which must be the code that DVC knows.

    Outside of the graph there is no record, and nothing to compare with.

    Raises:
        UserError: the code or a library has changed since the stage code ran.
    """
    now, record = fingerprint_of(kind), workspace.code(kind)
    if record.exists() and (changes := explain(read_json(record), now)):
        raise UserError(
            f"{record} is of other code than what would run now ({_named(changes)}); bring it up to date: "
            "dvc repro --force --single-item code, then dvc repro"
        )
    return identity(now)


@contextmanager
def held_code(kind: str, code: str, stage: str) -> Iterator[None]:
    """Refuse what the block has done if the code has changed meanwhile: nobody knows which code it was done with.

    Args:
        kind: of the stage.
        code: identity of the code when the block begins.
        stage: name of the stage, for the message.

    Raises:
        ChangedError: the code has changed.
    """
    yield
    if identity(fingerprint_of(kind)) != code:
        raise ChangedError(f"the code of ream changed while {stage} ran; its result was discarded, run again")


def _named(changes: list[str]) -> str:
    return ", ".join(changes[:NAMED]) + (f" and {len(changes) - NAMED} more" if len(changes) > NAMED else "")
