"""Corrections of a layer that stay in the recipe's file until they are asked for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from ream.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class StoredCorrections(Mapping[int, Mapping[str, "Tensor"]]):
    """A layer's corrections in a file, by position among the kept experts; an expert's are read when asked for."""

    def __init__(self, path: Path, names: Mapping[int, Mapping[str, str]]) -> None:
        """Remember where the corrections are; nothing is read.

        Args:
            path: of the file.
            names: position to part to the name of the tensor in the file.
        """
        self._path, self._names = path, names

    def __len__(self) -> int:
        """The number of corrected experts."""
        return len(self._names)

    def __iter__(self) -> Iterator[int]:
        """The positions of the corrected experts."""
        return iter(self._names)

    def __contains__(self, position: object) -> bool:
        """Whether the expert at a position is corrected, without reading it as `Mapping` would."""
        return position in self._names

    def __getitem__(self, position: int) -> Mapping[str, "Tensor"]:
        """Read the corrections of an expert, by part.

        Raises:
            UserError: the file is gone or damaged.
        """
        try:
            with safe_open(self._path, framework="pt") as file:
                return {part: file.get_tensor(name) for part, name in self._names[position].items()}
        except (SafetensorError, OSError) as error:
            raise UserError(f"recipe {self._path} is damaged ({error}); make or fetch it again") from None
