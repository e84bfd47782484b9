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
from ream.files import locked, read_json, replacing, write_json


def fingerprint(facts: Mapping[str, Any]) -> str:
    """SHA-256 of everything a walk's result depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class WalkState:
    """The folder of one walk: a file for each finished layer, and the hidden states that enter the next."""

    def __init__(self, folder: Path, identity: str, discard_stale: bool) -> None:
        """Open or start a walk's state.

        Args:
            folder: of the state.
            identity: fingerprint of what the walk depends on.
            discard_stale: start anew where the folder holds another walk's state; else refuse.

        Raises:
            UserError: another process is using the folder, or its state is of other settings.
        """
        self.folder, self.identity = folder, identity
        self._held = ExitStack()
        self._held.enter_context(locked(folder))
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
            raise UserError(
                f"{self.folder} holds an interrupted run with other settings; restore them to go on, or delete it"
            )
        (self.folder / "progress.json").unlink()
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

    def commit(self, index: int, result: Mapping[str, Tensor] | None, hidden: Tensor, last: bool) -> None:
        """Finish a layer: keep its result (None for a dense layer) and the hidden states that enter the next."""
        if result is not None:
            with replacing(self.layer_path(index)) as temporary:
                save_file(dict(result), temporary)
        if not last:
            with replacing(self._hidden(index + 1)) as temporary:
                save_file({"hidden": hidden}, temporary)
        write_json(self.folder / "progress.json", {"identity": self.identity, "next_layer": index + 1})
        self._hidden(index).unlink(missing_ok=True)
        self.next_layer = index + 1

    def clear(self) -> None:
        """Remove the folder."""
        self._held.close()
        shutil.rmtree(self.folder)
