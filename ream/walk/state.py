"""What a walk has finished, on disk, so that a killed run goes on after its last finished layer.

A layer is committed by renaming ``progress.json`` into place. Whatever a kill leaves half-written before that is
written again.

Hidden states that fit in memory are kept there, overwritten in place during a layer, and written to
``hidden-NNN.safetensors`` when the layer is committed. A killed walk starts from that copy, which stays until the next
commit; before the first commit, tokens are embedded again. Larger hidden states lie in two mapped files: one holds the
states that enter a layer and stays unchanged while those that leave the layer are written to the other. A commit swaps
the roles of the files, without writing anything twice.
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
from ream.machine.differences import difference
from ream.machine.files import locked, read_json, replacing, sweep, write_json
from ream.walk.layer_file import layer_file
from ream.walk.mapped import MappedTensor


def fingerprint(facts: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a walk's result depends on."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class WalkState:
    """The folder of one walk: a file for each finished layer, and the hidden states that enter the next.

    Attributes:
        folder: of the state.
        next_layer: index of the first layer that is not finished.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        discard_stale: bool,
        facts: Mapping[str, Any] | None = None,
        memory: float = math.inf,
    ) -> None:
        """Open the state of an interrupted walk, or start a new one.

        Args:
            folder: of the state.
            identity: fingerprint of what the walk's result depends on.
            discard_stale: start anew if the folder holds the state of another walk; otherwise refuse.
            facts: what the fingerprint was made of, to name what differs.
            memory: bytes up to which one tensor of all tokens is kept in memory; a larger one lies wholly in a mapped
                file. A one-shot walk has one such tensor or two, a sequential one up to five. No result depends on it.

        Raises:
            UserError: another process is using the folder, or its state belongs to a walk with other settings.
        """
        self.folder, self.identity, self.facts, self.memory = folder, identity, dict(facts or {}), memory
        self._mapped: dict[str, MappedTensor] = {}
        self._committed_map: dict[str, Any] | None = None  # shape and dtype of committed states in a mapped file
        self._lock = ExitStack()
        self._lock.enter_context(locked(folder))
        sweep(folder)
        try:
            self.next_layer = self._stands_at(discard_stale)
        except UserError:
            self._lock.close()
            raise

    def _stands_at(self, discard_stale: bool) -> int:
        """Index of the first layer that is not finished."""
        if not (self.folder / "progress.json").exists():
            return 0
        progress = read_json(self.folder / "progress.json")
        if progress["identity"] == self.identity:
            self._committed_map = progress.get("mapped")
            return int(progress["next_layer"])
        if not discard_stale:
            differs = difference(progress.get("facts", {}), self.facts)
            raise UserError(
                f"{self.folder} holds an interrupted run with other settings{differs and f' ({differs})'}; "
                "restore them to resume it, or delete the folder"
            )
        (self.folder / "progress.json").unlink()
        for path in {*self.folder.glob("layer-*"), *self.folder.glob("hidden-*"), *self.folder.glob("*.map")}:
            path.unlink()
        return 0

    def __enter__(self) -> "WalkState":
        return self

    def __exit__(self, *error: object) -> None:
        """Let others use the folder; what is committed stays."""
        self._mapped.clear()
        self._lock.close()

    def fits(self, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
        """Whether a tensor of this shape is to be kept in memory."""
        return math.prod(shape) * dtype.itemsize <= self.memory

    def room(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor to be filled: new memory if it fits, otherwise the mapped file of that name, with what it holds."""
        if self.fits(shape, dtype):
            return torch.empty(shape, dtype=dtype)
        path = self.folder / f"{name}.map"
        if name not in self._mapped:
            self._mapped[name] = MappedTensor(path, shape, dtype)
        return self._mapped[name].tensor

    def parts(self, data: Iterable[slice]) -> Iterator[slice]:
        """The slices one after the other; after each, the memory of all mapped files is freed."""
        for part in data:
            yield part
            for mapped in self._mapped.values():
                mapped.release()

    def hidden(self) -> Tensor:
        """The committed hidden states [n, L, H] that enter `next_layer`.

        In memory this is a copy, which may be overwritten. Mapped, it is the committed file itself and must not be.

        Raises:
            UserError: their file has another size than what was committed.
        """
        if self._committed_map is None:
            return load_file(self._hidden(self.next_layer))["hidden"]
        shape, dtype = tuple(self._committed_map["shape"]), getattr(torch, self._committed_map["dtype"])
        name = self._map_name(self.next_layer)
        path = self.folder / f"{name}.map"
        if not path.exists() or path.stat().st_size != math.prod(shape) * dtype.itemsize:
            raise UserError(f"{path} is not what was committed; delete {self.folder} to start over")
        if self.fits(shape, dtype):
            return MappedTensor(path, shape, dtype).tensor.clone()
        return self.room(name, shape, dtype)  # the file keeps its contents

    def entering(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Room for the hidden states that enter the first layer."""
        return self.room(self._map_name(0), shape, dtype)

    def leaving(self, hidden: Tensor) -> Tensor:
        """Room for the hidden states that leave `next_layer`.

        Args:
            hidden: the states that enter it; in memory they are overwritten, so they are what is returned.
        """
        shape, dtype = tuple(hidden.shape), hidden.dtype
        return hidden if self.fits(shape, dtype) else self.room(self._map_name(self.next_layer + 1), shape, dtype)

    @staticmethod
    def _map_name(index: int) -> str:
        """Name of the mapped file with the hidden states that enter a layer."""
        return f"hidden-{index % 2}"

    def layer(self, index: int) -> dict[str, Tensor]:
        """The tensors committed for a finished layer."""
        return load_file(layer_file(self.folder, index))

    def _hidden(self, index: int) -> Path:
        """The file of the hidden states that enter a layer, where they fit in memory."""
        return self.folder / f"hidden-{index:03d}.safetensors"

    def commit(self, index: int, result: Mapping[str, Tensor] | None, hidden: Tensor | None, last: bool) -> None:
        """Commit a finished layer.

        Args:
            index: of the layer.
            result: tensors to keep of it; None for a dense layer.
            hidden: states [n, L, H] that enter the next layer; None if the walk has none.
            last: whether this is the last layer.
        """
        if result is not None:
            with replacing(layer_file(self.folder, index)) as temporary:
                save_file(dict(result), temporary)
        self._committed_map, mapped = None, self._mapped.get(self._map_name(index + 1))
        if hidden is not None and not last:
            if mapped is not None and mapped.tensor is hidden:
                mapped.flush()
                dtype = str(hidden.dtype).removeprefix("torch.")
                self._committed_map = {"shape": list(hidden.shape), "dtype": dtype}
            else:
                with replacing(self._hidden(index + 1)) as temporary:
                    save_file({"hidden": hidden}, temporary)
        progress = {
            "identity": self.identity, "next_layer": index + 1, "facts": self.facts, "mapped": self._committed_map
        }  # fmt: skip
        write_json(self.folder / "progress.json", progress)  # renames it into place: now the layer is committed
        self._hidden(index).unlink(missing_ok=True)
        if self._committed_map is None:
            self._mapped.clear()
            for path in self.folder.glob("*.map"):
                path.unlink()
        self.next_layer = index + 1

    def clear(self) -> None:
        """Remove the folder and let go of its lock."""
        discard(self.folder)
        self._lock.close()


def discard(folder: Path) -> None:
    """Remove a walk's state, ``progress.json`` first: a run killed meanwhile must not take the rest for the whole."""
    (folder / "progress.json").unlink(missing_ok=True)
    shutil.rmtree(folder)
