"""Documents of local files of text, JSON and Parquet, in a seeded random order.

The order is a uniform shuffle of all documents of all files, not of a buffer. Documents are addressed by file and row,
the addresses are shuffled, and the texts are read one block of addresses at a time, so memory holds one block.
"""

import glob
import itertools
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from ream.calibration.contents import Render
from ream.calibration.document import Document
from ream.calibration.file_formats import Columns, TextFile, is_readable, opened
from ream.calibration.parts import UNIT, WHOLE, Part, highest_rank, of_part
from ream.errors import UserError
from ream.params import FilesSource

BLOCK = 512  # documents read at a time


def iter_files(source: FilesSource, seed: int, part: Part = WHOLE, render: Render | None = None) -> Iterator[Document]:
    """Documents of all files that the source's patterns match.

    A file of plain text is one document. A line of a .jsonl or .json file, an entry of a .json file that is a list, or
    a row of a .parquet file, is a document with its text or conversation in ``column``; null is an empty document.
    Blank lines are skipped. A file matched twice counts once. Files of text and JSON may be compressed (.gz, .zst);
    they are decompressed into a temporary file.

    Args:
        source: patterns, column, and the fraction that is held out.
        seed: orders the documents.
        part: of the text of a source with ``held_out``.
        render: the model's chat template, for conversations.

    Raises:
        UserError: a pattern matches no file, or a file has an unknown extension, lacks the column, is not UTF-8 or is
            not of its extension's format; the message names the file and, in JSON Lines, the line. Or the text cannot
            be divided, because it is a single short one.
    """
    columns = Columns(source.column, source.tools, render)
    with ExitStack() as stack:
        files = [opened(path, columns, stack) for path in matched(source.paths)]
        if source.held_out is None or part.side == "all":
            yield from itertools.chain.from_iterable(_shuffled(files, seed))
            return
        cut = source.windows == "all"
        in_order = itertools.chain.from_iterable(_blocks(files, range(sum(file.rows for file in files))))
        highest, count = highest_rank(in_order, source.held_out, cut)
        if part.side == "calibration" and source.held_out < 1 and count < 2:
            raise UserError(
                f"{', '.join(source.paths)}: {'one text' if count else 'no text'}, which cannot be divided into text "
                f"to calibrate on and held-out text; give several documents, or one of more than {2 * UNIT} characters"
            )
        for number, block in enumerate(_shuffled(files, seed)):
            found = [piece for document in block for piece in of_part(document, part, highest, cut)]
            if cut:  # the pieces of a long document come from all of it, between those of others
                random.Random(f"{seed}/{number}").shuffle(found)
            yield from found


def _shuffled(files: list[TextFile], seed: int) -> Iterator[list[Document]]:
    """Documents of all files in a seeded random order, block by block."""
    order = list(range(sum(file.rows for file in files)))
    random.Random(seed).shuffle(order)
    return _blocks(files, order)


def _blocks(files: list[TextFile], order: Sequence[int]) -> Iterator[list[Document]]:
    """The documents with the given numbers, counted through all files, a block at a time."""
    starts = list(itertools.accumulate((file.rows for file in files), initial=0))
    for begin in range(0, len(order), BLOCK):
        block = order[begin : begin + BLOCK]
        documents = {}
        for index, group in itertools.groupby(sorted(block), key=lambda number: bisect_right(starts, number) - 1):
            rows = [number - starts[index] for number in group]
            for row, content in zip(rows, files[index].read(rows), strict=True):
                name = f"{files[index].path}#{row + 1}"
                documents[starts[index] + row] = Document(name, content.text, chat=content.chat)
        yield [documents[number] for number in block]


def matched(patterns: list[str]) -> list[Path]:
    """The distinct files that the patterns match, sorted within a pattern.

    A folder stands for the files in it and below it whose extension can be read, without hidden ones.

    Raises:
        UserError: a pattern matches no file, or a folder has none that can be read.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        literal = Path(pattern).expanduser()
        if literal.is_dir():
            paths = _below(literal)
            if not paths:
                raise UserError(
                    f"no file in the folder {pattern} can be read as text; give .txt, .md, .jsonl or .parquet"
                )
        else:
            names = [literal] if literal.is_file() else map(Path, glob.glob(str(literal), recursive=True))
            paths = sorted(path for path in names if path.is_file())
        if not paths:
            raise UserError(f"no file matches '{pattern}' (relative to {Path.cwd()}); correct the source's `paths`")
        files.update(dict.fromkeys(paths))
    return list(files)


def _below(folder: Path) -> list[Path]:
    """The files below a folder that can be read."""
    visible = (
        path for path in folder.rglob("*") if not any(name.startswith(".") for name in path.relative_to(folder).parts)
    )
    return sorted(path for path in visible if path.is_file() and is_readable(path))
