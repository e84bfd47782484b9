"""What a walk over the layers has finished, on disk, so that a killed run goes on from its last layer.

A layer is committed by renaming ``progress.json``; whatever a kill leaves half-done before that is written again.

Hidden states that fit into memory are kept there and written when a layer is committed. Larger ones lie in mapped
files, two of them: those that enter a layer stay as they are while those that leave it are written into the other file,
and a commit makes the files change places without writing anything twice.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ream.errors import UserError
from ream.machine.files import locked, read_json, replacing, sweep, write_json
from ream.walk.mapped import MappedTensor

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
        self,
        folder: Path,
        identity: str,
        discard_stale: bool,
        facts: Mapping[str, Any] | None = None,
        memory: float = math.inf,
    ) -> None:
        """Open or start a walk's state.

        Args:
            folder: of the state.
            identity: fingerprint of what the walk depends on.
            discard_stale: start anew where the folder holds another walk's state; else refuse.
            facts: that the fingerprint was made of, to name what differs.
            memory: bytes up to which hidden states are kept in memory. No result depends on it.

        Raises:
            UserError: another process is using the folder, or its state is of other settings.
        """
        self.folder, self.identity, self.facts, self.memory = folder, identity, dict(facts or {}), memory
        self._mapped: dict[str, MappedTensor] = {}
        self._kept: dict[str, Any] | None = None  # shape and dtype of committed hidden states in a mapped file
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
            self._kept = progress.get("mapped")
            return int(progress["next_layer"])
        if not discard_stale:
            differs = difference(progress.get("facts", {}), self.facts)
            raise UserError(
                f"{self.folder} holds an interrupted run with other settings{differs and f' ({differs})'}; "
                "restore them to go on, or delete it"
            )
        (self.folder / "progress.json").unlink()
        for path in (*self.folder.glob("layer-*"), *self.folder.glob("hidden-*"), *self.folder.glob("*.map")):
            path.unlink()
        return 0

    def __enter__(self) -> "WalkState":
        return self

    def __exit__(self, *error: object) -> None:
        """Let others use the folder; what is committed stays."""
        self._mapped.clear()
        self._held.close()

    def fits(self, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
        """Whether such hidden states are to be kept in memory."""
        return math.prod(shape) * dtype.itemsize <= self.memory

    def room(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor to be filled, in memory where it fits, else in a mapped file of that name."""
        if self.fits(shape, dtype):
            return torch.empty(shape, dtype=dtype)
        path = self.folder / f"{name}.map"
        if name not in self._mapped:
            self._mapped[name] = MappedTensor(path, shape, dtype)
        return self._mapped[name].tensor

    def parts(self, data: Iterable[slice]) -> Iterator[slice]:
        """The parts one after the other; after each, memory holds nothing of the mapped files."""
        for part in data:
            yield part
            for mapped in self._mapped.values():
                mapped.release()

    def hidden(self) -> Tensor:
        """Hidden states entering `next_layer`, which are committed: to be read, and replaced only where they `fits`.

        Raises:
            UserError: their file is not what was committed.
        """
        if self._kept is None:
            return load_file(self._hidden(self.next_layer))["hidden"]
        shape, dtype = tuple(self._kept["shape"]), getattr(torch, self._kept["dtype"])
        name = self._name(self.next_layer)
        path = self.folder / f"{name}.map"
        if not path.exists() or path.stat().st_size != math.prod(shape) * dtype.itemsize:
            raise UserError(f"{path} is not what was committed; delete {self.folder} to walk again")
        if self.fits(shape, dtype):
            return MappedTensor(path, shape, dtype).tensor.clone()
        return self.room(name, shape, dtype)

    def entering(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Where the hidden states that enter the first layer go."""
        return self.room(self._name(0), shape, dtype)

    def leaving(self, hidden: Tensor) -> Tensor:
        """Where those that leave `next_layer` go: in memory into the place of those that enter it, ``hidden``."""
        shape = tuple(hidden.shape)
        return (
            hidden
            if self.fits(shape, hidden.dtype)
            else self.room(self._name(self.next_layer + 1), shape, hidden.dtype)
        )

    @staticmethod
    def _name(index: int) -> str:
        """The mapped file of the hidden states that enter a layer."""
        return f"hidden-{index % 2}"

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
        self._kept, mapped = None, self._mapped.get(self._name(index + 1))
        if hidden is not None and not last:
            if mapped is not None and mapped.tensor is hidden:
                mapped.flush()
                self._kept = {"shape": list(hidden.shape), "dtype": str(hidden.dtype).removeprefix("torch.")}
            else:
                with replacing(self._hidden(index + 1)) as temporary:
                    save_file({"hidden": hidden}, temporary)
        progress = {"identity": self.identity, "next_layer": index + 1, "facts": self.facts, "mapped": self._kept}
        write_json(self.folder / "progress.json", progress)
        self._hidden(index).unlink(missing_ok=True)
        if self._kept is None:
            self._mapped.clear()
            for path in self.folder.glob("*.map"):
                path.unlink()
        self.next_layer = index + 1

    def clear(self) -> None:
        """Remove the folder."""
        discard(self.folder)
        self._held.close()


def discard(folder: Path) -> None:
    """Remove a walk's state; first what would let a run, should this one be killed, take the rest for the whole."""
    (folder / "progress.json").unlink(missing_ok=True)
    shutil.rmtree(folder)
