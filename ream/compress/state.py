"""What a walk over the layers has finished, on disk, so that a killed run goes on from its last layer.

A layer is committed by renaming ``progress.json``; whatever a kill leaves half-done before that is written again.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ream.errors import UserError
from ream.files import locked, read_json, replacing, sweep, write_json

SHOWN = 40  # characters of a setting's value: enough for most, and the line stays readable with a digest in it


def fingerprint(facts: Mapping[str, Any]) -> str:
    """SHA-256 of everything a walk's result depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that differs, by its dotted name and with both values; "" where none does."""
    old, new = _flat(json.loads(json.dumps(before))), _flat(json.loads(json.dumps(now)))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            return f"{name} was {_shown(old.get(name))} and is {_shown(new.get(name))} now"
    return ""


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves


def _shown(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


class WalkState:
    """The folder of one walk: a file for each finished layer, and the hidden states that enter the next."""

    def __init__(
        self, folder: Path, identity: str, discard_stale: bool, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Open or start a walk's state.

        Args:
            folder: of the state.
            identity: fingerprint of what the walk depends on.
            discard_stale: start anew where the folder holds another walk's state; else refuse.
            facts: that the fingerprint was made of, to name what differs.

        Raises:
            UserError: another process is using the folder, or its state is of other settings.
        """
        self.folder, self.identity, self.facts = folder, identity, dict(facts or {})
        self._held = ExitStack()
        self._held.enter_context(locked(folder))
        sweep(folder)
        try:
            self.next_layer = self._stands_at(discard_stale)
        except UserError:
            self._held.close()
            raise

    def _stands_at(self, discard_stale: bool) -> int:
        if not (self.folder / "progress.json").exists():
            return 0
        progress = read_json(self.folder / "progress.json")
        if progress["identity"] == self.identity:
            return int(progress["next_layer"])
        if not discard_stale:
            differs = difference(progress.get("facts", {}), self.facts)
            raise UserError(
                f"{self.folder} holds an interrupted run with other settings{differs and f' ({differs})'}; "
                "restore them to go on, or delete it"
            )
        (self.folder / "progress.json").unlink()
        for path in (*self.folder.glob("layer-*"), *self.folder.glob("hidden-*")):
            path.unlink()
        return 0

    def __enter__(self) -> "WalkState":
        return self

    def __exit__(self, *error: object) -> None:
        """Let others use the folder; what is committed stays."""
        self._held.close()

    def hidden(self) -> Tensor:
        """Hidden states entering `next_layer`."""
        return load_file(self._hidden(self.next_layer))["hidden"]

    def layer(self, index: int) -> dict[str, Tensor]:
        """What was committed for a finished layer."""
        return load_file(self.layer_path(index))

    def layer_path(self, index: int) -> Path:
        return self.folder / f"layer-{index:03d}.safetensors"

    def _hidden(self, index: int) -> Path:
        return self.folder / f"hidden-{index:03d}.safetensors"

    def commit(self, index: int, result: Mapping[str, Tensor] | None, hidden: Tensor | None, last: bool) -> None:
        """Finish a layer.

        Args:
            index: of the layer.
            result: to keep of it; None for a dense layer.
            hidden: states that enter the next layer; None where the walk has none.
            last: whether it is the last layer, which nothing follows.
        """
        if result is not None:
            with replacing(self.layer_path(index)) as temporary:
                save_file(dict(result), temporary)
        if hidden is not None and not last:
            with replacing(self._hidden(index + 1)) as temporary:
                save_file({"hidden": hidden}, temporary)
        progress = {"identity": self.identity, "next_layer": index + 1, "facts": self.facts}
        write_json(self.folder / "progress.json", progress)
        self._hidden(index).unlink(missing_ok=True)
        self.next_layer = index + 1

    def clear(self) -> None:
        """Remove the folder."""
        discard(self.folder)
        self._held.close()


def discard(folder: Path) -> None:
    """Remove a walk's state; first what would let a run, should this one be killed, take the rest for the whole."""
    (folder / "progress.json").unlink(missing_ok=True)
    shutil.rmtree(folder)
