"""Sequences of somebody's own text, to measure models on: documents cut into windows."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from ream.calibration.document import Document
from ream.calibration.local_files import OPENERS, iter_files
from ream.calibration.tokenizer import Encoder
from ream.errors import UserError
from ream.params import FilesSource

SHORTEST = 2  # tokens of a sequence: one predicts nothing


def text_sequences(path: Path, encoder: Encoder, tokens: int, sequences: int) -> list[list[int]]:
    """The first sequences of a file, or of all files in a folder and below it.

    Args:
        path: of a file, or of a folder.
        encoder: the tokenizer.
        tokens: the most of a sequence.
        sequences: the most that are returned.

    Raises:
        UserError: there is no such file, no file in the folder can be read, or there is too little text.
    """
    source = FilesSource(kind="files", paths=[str(name) for name in _files(path)])
    found = list(islice(windows(iter_files(source, seed=0), encoder, tokens), sequences))
    if not found:
        raise UserError(f"{path}: there is no text of {SHORTEST} tokens in it; give another file")
    return found


def _files(path: Path) -> list[Path]:
    """The file, or the files of a folder that can be read."""
    if not path.exists():
        raise UserError(f"{path} does not exist; correct the path")
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in OPENERS)
    if not files:
        raise UserError(f"{path}: no file in this folder ends in {', '.join(OPENERS)}; give files of text")
    return files


def windows(documents: Iterable[Document], encoder: Encoder, tokens: int) -> Iterator[list[int]]:
    """Every document in windows one after the other, each with the tokens that the tokenizer adds to a text.

    Args:
        documents: the text.
        encoder: the tokenizer.
        tokens: of a window, at most. The last of a document is as long as it comes, if it has SHORTEST.
    """
    special = encoder.special
    room = tokens - len(special.before) - len(special.after)
    for document in documents:
        ids = encoder.plain(document.text)
        for start in range(0, len(ids), room):
            window = special.around(ids[start : start + room])
            if len(window) >= SHORTEST:
                yield window
