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

OFFERED = "final.json"  # names of the models of each batch that helpers may take, and whether these are all
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
        batches = self._offered()[0] if shared else []
        offered = {name for names in batches for name in names}
        batches += self._divided([name for name in models if name not in offered], shared)
        if shared:
            self._offer(batches, whole=True)
        self._measure(batches, lambda name: models[name], note, wait=True)
        found = self._found()
        return {name: found[name] for name in models}

    def offer(self, names: Sequence[str]) -> None:
        """Let processes that have nothing else to do measure these models before all that `sums` wants are known.

        Where one process searches, that has something to do until then, and larger batches are cheaper.
        """
        if self._processes > 1:
            self._offer(self._divided(names, shared=True), whole=False)

    def take(self, make: Make, note: Note) -> bool:
        """Measure one of the offered batches; False if there is none that no process has taken.

        Args:
            make: the model of a name.
            note: told of the layers.
        """
        return any(self._taken(names, make, note) for names in self._left(self._offered()[0]))

    def help(self, make: Make) -> None:
        """Measure the offered batches that no other process has, until all that there will be are offered.

        Args:
            make: the model of a name.
        """
        while True:
            batches, whole = self._offered()
            self._measure(batches, make, lambda _: None, wait=False)
            if whole:
                return
            time.sleep(LOOK_SECONDS)

    def _divided(self, names: Sequence[str], shared: bool) -> list[list[str]]:
        """The models that nobody has measured, in batches of one size; shared ones are small, so that all end alike."""
        found = self._found()
        missing = [name for name in names if name not in found]
        processes = self._processes if shared else 1
        size = even_size(len(missing), self._batch if processes == 1 else -(-self._batch // 2), processes)
        return [missing[start : start + size] for start in range(0, len(missing), size)]

    def _offer(self, batches: Sequence[Sequence[str]], whole: bool) -> None:
        write_json(self._folder / OFFERED, {"batches": batches, "whole": whole})

    def _offered(self) -> tuple[list[list[str]], bool]:
        """The batches that are offered, and whether there will be no more."""
        path = self._folder / OFFERED
        if not path.exists():
            return [], False
        offer = read_json(path)
        return offer["batches"], offer["whole"]

    def _left(self, batches: Sequence[Sequence[str]]) -> list[Sequence[str]]:
        """Those that nobody has measured."""
        return [names for names in batches if not self._path(names).exists()]

    def _measure(self, batches: Sequence[Sequence[str]], make: Make, note: Note, wait: bool) -> None:
        """Measure all batches that nobody has measured; with ``wait`` until there is none left."""
        while left := self._left(batches):
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
