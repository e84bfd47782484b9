"""Results of finished tasks, so that an evaluation that was killed goes on with the next task."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ream.errors import UserError
from ream.machine.files import read_json, write_json


@dataclass(frozen=True)
class ResultStore:
    """One JSON file for each finished task of one model.

    Attributes:
        folder: of the files; made when the first task is done.
        model: whatever tells the model's weights apart from others, for example the digest of its recipe.
    """

    folder: Path
    model: str

    def read(self, task: str, settings: dict[str, Any]) -> dict[str, Any] | None:
        """The result of a task that was finished with this model and these settings, None where there is none."""
        path = self._path(task)
        if not path.is_file():
            return None
        try:
            stored = read_json(path)
        except UserError:  # another program's file, or damaged: as good as none
            return None
        if not isinstance(stored, dict) or stored.get("fingerprint") != self._fingerprint(task, settings):
            return None
        return stored["result"]

    def write(self, task: str, settings: dict[str, Any], result: dict[str, Any]) -> None:
        """Keep the result of a finished task; it takes the place of an older one, and is whole or not there."""
        write_json(self._path(task), {"fingerprint": self._fingerprint(task, settings), "result": result})

    def _path(self, task: str) -> Path:
        return self.folder / f"{quote(task, safe='')}.json"

    def _fingerprint(self, task: str, settings: dict[str, Any]) -> str:
        key = json.dumps({"model": self.model, "task": task, "settings": settings}, sort_keys=True)
        return hashlib.sha256(key.encode("utf-8")).hexdigest()
