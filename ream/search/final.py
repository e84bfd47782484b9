"""Models on the final text, in batches that the processes of a search share and that a killed run finds again."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from safetensors.numpy import load_file, save_file

from ream.machine.files import read_json, replacing, write_json
from ream.search.held import Held
from ream.search.losses import Ruler
from ream.search.measuring import Sums, measured_rows
from ream.search.side_by_side import Layers, Note
from ream.search.texts import Part
from ream.search.trials import even_size

OFFERED = "final.json"  # names of the models of each batch that helpers may take
LOOK_SECONDS = 0.2  # between two looks at what others are measuring
Make = Callable[[str], Layers | None]


class FinalText:
    """Measures models on the part of the text that the search never sees."""

    def __init__(self, folder: Path, ruler: Ruler, part: Part, batch: int, processes: int) -> None:
        """Args:
        folder: of the search's state, which processes share.
        ruler: measures models.
        part: of the text.
        batch: most models that walk side by side.
        processes: number of those that share the batches.
        """
        self._folder, self._ruler, self._part = folder, ruler, part
        self._batch, self._processes = batch, processes

    def sums(self, models: Mapping[str, Layers | None], note: Note, shared: bool = False) -> dict[str, Sums]:
        """The sums of models by their names, under which a killed run finds them again.

        Args:
            models: name to recipe; None is the original.
            note: told of the layers.
            shared: let helpers take batches; they must know the models by their names.
        """
        found = self._found()
        missing = [name for name in models if name not in found]
        size = even_size(len(missing), self._batch, self._processes if shared else 1)
        batches = [missing[start : start + size] for start in range(0, len(missing), size)]
        if shared:
            write_json(self._folder / OFFERED, batches)
        self._measure(batches, lambda name: models[name], note, wait=True)
        found = self._found()
        return {name: found[name] for name in models}

    def help(self, make: Make) -> None:
        """Wait for batches that are offered, and measure those that no other process has.

        Args:
            make: the model of a name.
        """
        while not (self._folder / OFFERED).exists():
            time.sleep(LOOK_SECONDS)
        self._measure(read_json(self._folder / OFFERED), make, lambda _: None, wait=False)

    def _measure(self, batches: Sequence[Sequence[str]], make: Make, note: Note, wait: bool) -> None:
        """Measure all batches that nobody has measured; with ``wait`` until there is none left."""
        while left := [names for names in batches if not self._path(names).exists()]:
            if not any(self._taken(names, make, note) for names in left):
                if not wait:
                    return
                time.sleep(LOOK_SECONDS)

    def _taken(self, names: Sequence[str], make: Make, note: Note) -> bool:
        """Measure a batch; False if another process is at it."""
        held = Held.of(self._path(names).with_suffix(".lock"))
        if held is None:
            return False
        try:
            if not self._path(names).exists():
                last = len(next(iter(self._part.sequences.values())))
                sums = measured_rows(self._ruler, self._part, [make(name) for name in names], 0, last, note)
                with replacing(self._path(names)) as temporary:
                    save_file(dict(zip(names, sums, strict=True)), temporary)
        finally:
            held.close()
        return True

    def _path(self, names: Sequence[str]) -> Path:
        return self._folder / f"final-{names[0]}.safetensors"

    def _found(self) -> dict[str, Sums]:
        found: dict[str, Sums] = {}
        for path in sorted(self._folder.glob("final-*.safetensors")):
            found |= load_file(path)
        return found


def withdraw(folder: Path) -> None:
    """Offer nothing, until there is something to be measured; what a killed run offered may be out of date.

    Args:
        folder: of the search's state, before helpers look there.
    """
    (folder / OFFERED).unlink(missing_ok=True)
