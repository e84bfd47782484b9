"""The settings that a stage runs with, and what happens when the params file changes meanwhile.

DVC records what params.yaml says when a stage has ended, and a stage runs with what it said before. So each stage
writes down the entries that it runs with, stops when one of them changes, and leaves no result that was made with
others.
"""

import _thread
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ream.errors import UserError
from ream.machine.differences import differences
from ream.machine.files import write_json
from ream.params import Params, load_params
from ream.params.overlay import read_params, refuse_overlay

LOOK_SECONDS = 2.0  # between two looks at the params file
NAMED = 3  # changed entries that a message names

Entry = tuple[str, ...]  # the keys that lead to an entry of the params file


def own_entries(params: Params, entries: Sequence[Entry]) -> dict[str, Any]:
    """The entries of a stage as plain values, by dotted name; None where the params file has no such entry."""
    tree = params.model_dump(mode="json")
    return {".".join(entry): _at(tree, entry) for entry in entries}


def check_written(params_path: Path, entries: Sequence[Entry]) -> None:
    """Refuse a params file that leaves an entry to its default: DVC records only what is written.

    Args:
        params_path: the params file.
        entries: the entries that must be written in it.

    Raises:
        UserError: names the first one that is missing.
    """
    refuse_overlay(params_path)
    tree = read_params(params_path)
    for entry in entries:
        where = tree
        for key in entry:
            found = next((name for name in where if str(name) == key), None) if isinstance(where, dict) else None
            if found is None:
                hint = "a table from experts to C" if entry[0] == "grouping" else "even with its default value"
                raise UserError(
                    f"{params_path} has no {'.'.join(entry)}, which DVC records for a stage; write it there, {hint}"
                )
            where = where[found]


def _at(tree: Any, entry: Entry) -> Any:
    for key in entry:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


@contextmanager
def held(params_path: Path, params: Params, entries: Sequence[Entry], stage: str, record: Path) -> Iterator[None]:
    """Record the entries that the block runs with, and stop the block when one of them changes in the params file.

    Args:
        params_path: the params file.
        params: what it said when it was read.
        entries: the entries that the stage depends on.
        stage: name of the stage, for messages.
        record: JSON file for the entries.

    Raises:
        ChangedError: an entry has changed; names it with its old and new value.
    """
    before = own_entries(params, entries)
    write_json(record, before)
    watch = _Watch(params_path, before, entries)
    try:
        with watch:
            yield
    except KeyboardInterrupt:
        if watch.change:
            raise ChangedError(
                f"{params_path} changed while {stage} ran ({watch.change}); it was stopped, run again"
            ) from None
        raise
    if change := changed(params_path, before, entries):
        raise ChangedError(f"{params_path} changed while {stage} ran ({change}); its result was discarded, run again")


def changed(params_path: Path, before: Mapping[str, Any], entries: Sequence[Entry]) -> str:
    """What has changed in the params file, as a message shows it; "" if nothing has.

    Args:
        params_path: the params file.
        before: the entries as they were (`own_entries`).
        entries: their names.
    """
    try:
        now = own_entries(load_params(params_path), entries)
    except UserError as error:
        return f"it cannot be read now: {error}"
    found = differences(before, now)
    shown = ", ".join(f"{name} {old} → {new}" for name, old, new in found[:NAMED])
    return shown + (f", and {len(found) - NAMED} more" if len(found) > NAMED else "")


class ChangedError(UserError):
    """What a stage ran with has changed while it ran."""


@contextmanager
def discarding(outputs: Sequence[Path]) -> Iterator[None]:
    """Remove the outputs if the block ends with a ChangedError."""
    try:
        yield
    except ChangedError:
        for path in outputs:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise


class _Watch:
    """A thread that looks at the params file and interrupts the main thread when an entry of the stage has changed."""

    def __init__(self, params_path: Path, before: Mapping[str, Any], entries: Sequence[Entry]) -> None:
        self.change = ""
        self._path, self._before, self._entries = params_path, before, entries
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="params", daemon=True)

    def __enter__(self) -> "_Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()  # so that it interrupts the block, and not what comes after it

    def _look(self) -> None:
        """Look until the block has ended or an entry has changed; a file that is half-written is looked at again."""
        seen = _stamp(self._path)
        while not self._stop.wait(LOOK_SECONDS):
            if (stamp := _stamp(self._path)) == seen:
                continue
            if change := changed(self._path, self._before, self._entries):
                if self._stop.wait(LOOK_SECONDS) or not (change := changed(self._path, self._before, self._entries)):
                    continue
                self.change = change
                _thread.interrupt_main()
                return
            seen = stamp


def _stamp(path: Path) -> tuple[int, int]:
    """Time of the last change, in nanoseconds, and size; zeros while there is no file."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size
