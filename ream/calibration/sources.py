"""Sources of calibration text: one reader for each kind of source, which gives documents in a seeded order."""

from collections.abc import Callable, Iterator
from typing import Any

from ream.calibration import builtin, hub, local_files
from ream.calibration.contents import Render
from ream.calibration.document import Document
from ream.calibration.parts import WHOLE, Part, Side
from ream.params import BuiltinSource, FilesSource, HubSource

PARTED: tuple[Side, Side] = ("calibration", "held-out")
TextSource = BuiltinSource | HubSource | FilesSource


def _builtin(source: BuiltinSource, seed: int, part: Part, _: Render | None) -> Iterator[Document]:
    return builtin.documents(source.name, "held-out" if part.side == "held-out" else source.split, seed)


READERS: dict[str, Callable[[Any, int, Part, Render | None], Iterator[Document]]] = {
    "builtin": _builtin,
    "hub": hub.iter_rows,
    "files": local_files.iter_files,
}


def iter_texts(source: TextSource, seed: int, part: Part = WHOLE, render: Render | None = None) -> Iterator[Document]:
    """Documents of a source in a seeded random order; the same seed gives the same documents.

    The iterator may be endless (built-in ``math``). It is lazy: nothing is read and no error is raised before the first
    document is asked for. A source of tokens has no text; `ream.calibration.corpus.read_corpus` reads it.

    Args:
        source: where the text is.
        seed: orders the documents.
        part: of a source with ``held_out``; any other source gives all of its text. Built-in text has parts of its own.
        render: the model's chat template, for conversations.

    Raises:
        UserError: the source cannot be read; the message names the file and line, or the data set, and what to do.
    """
    return READERS[source.kind](source, seed, part, render)


def divided(source: TextSource) -> bool:
    """Whether a part of the source's text is held out from all calibration."""
    return not isinstance(source, BuiltinSource) and source.held_out is not None


def calibrated_and_held_out(
    source: TextSource, seed: int, tokens: int, render: Render | None
) -> tuple[Iterator[Document], Iterator[Document]]:
    """Documents to calibrate on, and documents for what must not be calibrated on.

    Both are one iterator where the source holds nothing out: what follows the calibration's documents is new then.

    Args:
        source: where the text is.
        seed: orders the documents.
        tokens: of a sequence.
        render: the model's chat template, for conversations.

    Raises:
        UserError: see `iter_texts`.
    """
    if not divided(source):
        documents = iter(iter_texts(source, seed, Part("all", tokens), render))
        return documents, documents
    calibrated, held_out = (iter_texts(source, seed, Part(side, tokens), render) for side in PARTED)
    return iter(calibrated), iter(held_out)


def resolved_revision(source: TextSource) -> str | None:
    """The commit of the hub data set that the source's revision stands for now; None for other sources.

    A source that is read at this commit gives the text that is recorded, whatever is pushed in the meantime.

    Raises:
        UserError: the data set cannot be reached; the message says what to do.
    """
    return hub.resolved_revision(source) if isinstance(source, HubSource) else None
