"""Where calibration text comes from: one reader for each kind of source, all giving documents in a seeded order."""

from collections.abc import Callable, Iterator
from typing import Any

from ream.calibration import builtin, hub, local_files
from ream.calibration.document import Document
from ream.params import BuiltinSource, FilesSource, HubSource

TextSource = BuiltinSource | HubSource | FilesSource


def _builtin(source: BuiltinSource, seed: int) -> Iterator[Document]:
    return builtin.documents(source.name, source.split, seed)


READERS: dict[str, Callable[[Any, int], Iterator[Document]]] = {
    "builtin": _builtin,
    "hub": hub.iter_rows,
    "files": local_files.iter_files,
}


def iter_texts(source: TextSource, seed: int) -> Iterator[Document]:
    """Documents of a source in a seeded random order; the same seed gives the same documents.

    The iterator may be endless (built-in ``math``). It is lazy: nothing is read, and no error raised, before the first
    document is asked for. Own tokens are no text: see `ream.calibration.corpus.read_corpus`.

    Raises:
        UserError: the source can't be read; names the file and line, or the data set and what to do.
    """
    return READERS[source.kind](source, seed)


def resolved_revision(source: TextSource) -> str | None:
    """Commit of the hub data set that the source's revision stands for now; None where there is no such thing.

    Reading the source with this revision in place of its own reads what is recorded, whatever is pushed meanwhile.

    Raises:
        UserError: the data set can't be reached; says what to do.
    """
    return hub.resolved_revision(source) if isinstance(source, HubSource) else None
