"""Stored results of finished tasks, so that an evaluation that was killed continues with the next task."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ream.errors import UserError
from ream.evaluation.answer_table import read_tables, write_answers, write_tables
from ream.machine.files import read_json, write_json

if TYPE_CHECKING:
    from ream.evaluation.answers import Answer


@dataclass(frozen=True)
class ResultStore:
    """One JSON file for each finished task of one model, and a Parquet file of its answers.

    Attributes:
        folder: folder of the files; made when the first result is written.
        model: text that identifies the model's weights, for example the digest of its recipe.
    """

    folder: Path
    model: str

    def read(self, task: str, settings: dict[str, Any]) -> dict[str, Any] | None:
        """The stored result of a task with this model and these settings; None if there is none."""
        path = self._path(task)
        if not path.is_file() or not self._answers(task).is_file():
            return None
        try:
            stored = read_json(path)
        except UserError:  # the file is damaged, or of another program
            return None
        if not isinstance(stored, dict) or stored.get("fingerprint") != self._fingerprint(task, settings):
            return None
        result: dict[str, Any] = stored["result"]
        return result

    def write(
        self, task: str, settings: dict[str, Any], result: dict[str, Any], answers: "Sequence[Answer]" = ()
    ) -> None:
        """Store the result of a finished task atomically, in the place of an older result; its answers come first."""
        write_answers(self._answers(task), [answers])
        write_json(self._path(task), {"fingerprint": self._fingerprint(task, settings), "result": result})

    def write_all_answers(self, path: Path, tasks: Iterable[str]) -> None:
        """Write the stored answers of tasks into one file.

        Raises:
            UserError: the file cannot be written, or a stored one is missing or damaged.
        """
        write_tables(path, chain.from_iterable(read_tables(self._answers(task)) for task in tasks))

    def _answers(self, task: str) -> Path:
        return self.folder / f"{quote(task, safe='')}.parquet"

    def _path(self, task: str) -> Path:
        return self.folder / f"{quote(task, safe='')}.json"

    def _fingerprint(self, task: str, settings: dict[str, Any]) -> str:
        key = json.dumps({"model": self.model, "task": task, "settings": settings}, sort_keys=True)
        return hashlib.sha256(key.encode("utf-8")).hexdigest()
