"""Documents of local text, Markdown, JSON Lines and Parquet files, in a seeded random order.

The order is a uniform shuffle of all documents of all files, not of a buffer. Documents are addressed by file and row,
the addresses are shuffled, and the texts are read one block of addresses at a time, so memory holds one block.
"""

import glob
import itertools
import random
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from ream.calibration.document import Document
from ream.errors import UserError
from ream.machine.documents import MIB, MOST_BYTES, parse_json, read_bytes
from ream.params import FilesSource

BLOCK = 512  # documents read at a time
MOST_TEXT_BYTES = 4 * 1024 * MIB  # of a file that is one document


@dataclass(frozen=True)
class TextFile:
    """A file of documents.

    Attributes:
        path: the file.
        rows: number of documents in it.
        read: texts of the rows with the given indices, which must ascend.
    """

    path: Path
    rows: int
    read: Callable[[list[int]], Iterator[str]]


def iter_files(source: FilesSource, seed: int) -> Iterator[Document]:
    """Documents of all files that the source's patterns match.

    A .txt or .md file is one document. A line of a .jsonl or .json file, or a row of a .parquet file, is a document
    with its text in ``column``; null is an empty document. Blank lines are skipped. A file matched twice counts once.
    Files of text and lines may be compressed (.gz, .zst); they are decompressed into a temporary file.

    Raises:
        UserError: a pattern matches no file, or a file has an unknown extension, lacks the column, is not UTF-8 or is
            not of its extension's format; the message names the file and, in JSON Lines, the line.
    """
    with ExitStack() as stack:
        yield from _shuffled([_opened(path, source.column, stack) for path in matched(source.paths)], seed)


def _shuffled(files: list[TextFile], seed: int) -> Iterator[Document]:
    """Documents of all files in a seeded random order."""
    starts = list(itertools.accumulate((file.rows for file in files), initial=0))
    order = list(range(starts[-1]))
    random.Random(seed).shuffle(order)
    for begin in range(0, len(order), BLOCK):
        block = order[begin : begin + BLOCK]
        documents = {}
        for index, group in itertools.groupby(sorted(block), key=lambda number: bisect_right(starts, number) - 1):
            rows = [number - starts[index] for number in group]
            for row, text in zip(rows, files[index].read(rows), strict=True):
                documents[starts[index] + row] = Document(f"{files[index].path}#{row + 1}", text)
        yield from (documents[number] for number in block)


def matched(patterns: list[str]) -> list[Path]:
    """The distinct files that the patterns match, sorted within a pattern.

    Raises:
        UserError: a pattern matches no file, or names a folder.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        literal = Path(pattern).expanduser()
        if literal.is_dir():
            raise UserError(f"{pattern} is a folder; name its files, e.g. {pattern.rstrip('/')}/*.jsonl")
        names = [literal] if literal.is_file() else map(Path, glob.glob(str(literal), recursive=True))
        paths = sorted(path for path in names if path.is_file())
        if not paths:
            raise UserError(f"no file matches '{pattern}' (relative to {Path.cwd()}); correct the source's `paths`")
        files.update(dict.fromkeys(paths))
    return list(files)


def _opened(path: Path, column: str, stack: ExitStack) -> TextFile:
    compression = COMPRESSED.get(path.suffix.lower())
    suffix = Path(path.stem).suffix if compression else path.suffix
    if suffix.lower() == ".parquet" and not compression:
        return _open_parquet(path, column)
    opener = OPENERS.get(suffix.lower())
    if opener is None:
        known = f"{', '.join(OPENERS)}, these with {' or '.join(COMPRESSED)} behind, or .parquet"
        raise UserError(f"{path}: files of type '{''.join(path.suffixes[-2:])}' cannot be read; use {known}")
    return opener(path, column, compression, stack)


def _decompressed(path: Path, compression: str, stack: ExitStack) -> IO[bytes]:
    """A temporary file without a name, open as long as ``stack``, that has the content of a compressed one."""
    file, size = stack.enter_context(tempfile.TemporaryFile()), 0  # noqa: SIM115 - the stack closes it
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            while piece := stream.read(MIB):
                size += len(piece)
                if size > MOST_TEXT_BYTES:
                    raise UserError(f"{path}: more than {MOST_TEXT_BYTES // MIB} MiB when decompressed; split the file")
                file.write(piece)
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):  # of the disk, not of the content
            raise
        raise UserError(f"{path}: not a {compression} file, or damaged; write it again or rename it") from None
    return file


def _open_text(path: Path, _: str, compression: str | None, stack: ExitStack) -> TextFile:
    def content() -> bytes:
        if compression is None:
            return read_bytes(path, MOST_TEXT_BYTES)
        file = _decompressed(path, compression, stack)
        file.seek(0)
        return file.read()

    def read(rows: list[int]) -> Iterator[str]:
        for _ in rows:
            try:
                yield content().decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: not UTF-8 at byte {error.start}; convert it") from None

    return TextFile(path, 1, read)


def _open_lines(path: Path, column: str, compression: str | None, stack: ExitStack) -> TextFile:
    numbers, offsets, offset = array("q"), array("q"), 0
    plain = _decompressed(path, compression, stack) if compression else None

    @contextmanager
    def opened() -> Iterator[IO[bytes]]:
        if plain is not None:
            plain.seek(0)
            yield plain
        else:
            with path.open("rb") as file:
                yield file

    with opened() as file:
        for number, line in enumerate(iter(partial(file.readline, MOST_BYTES), b""), start=1):
            if len(line) == MOST_BYTES and not line.endswith(b"\n"):
                raise UserError(f"{path}, line {number}: more than {MOST_BYTES // MIB} MiB; split the line")
            if line.strip():
                numbers.append(number)
                offsets.append(offset)
            offset += len(line)

    def read(rows: list[int]) -> Iterator[str]:
        with opened() as file:
            for row in rows:
                file.seek(offsets[row])
                yield _line_text(file.readline(), column, f"{path}, line {numbers[row]}")

    return TextFile(path, len(offsets), read)


def _line_text(line: bytes, column: str, where: str) -> str:
    value = parse_json(line, where)
    if not isinstance(value, dict):
        raise UserError(f"{where}: {type(value).__name__} where one JSON object per line is expected")
    if column not in value:
        raise UserError(f"{where}: no column '{column}'; it has: {', '.join(value)}")
    text = value[column]
    if text is not None and not isinstance(text, str):
        raise UserError(f"{where}: column '{column}' holds {type(text).__name__}, not text")
    return text or ""


def _open_parquet(path: Path, column: str) -> TextFile:
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise UserError(f"{path}: not a Parquet file, or damaged; write it again or rename it") from None
    if column not in schema.names:
        raise UserError(f"{path}: no column '{column}'; it has: {', '.join(schema.names)}")
    kind = schema.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{path}: column '{column}' holds {kind}, not text")
    sizes = (metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    starts = list(itertools.accumulate(sizes, initial=0))

    def read(rows: list[int]) -> Iterator[str]:
        with pq.ParquetFile(path) as file:
            for group, members in itertools.groupby(rows, key=lambda row: bisect_right(starts, row) - 1):
                try:
                    texts = file.read_row_group(group, columns=[column]).column(0)
                    found = [texts[row - starts[group]].as_py() or "" for row in members]
                except (pa.ArrowException, OSError, UnicodeDecodeError, IndexError):
                    raise UserError(f"{path}: damaged in its row group {group + 1}; write it again") from None
                yield from found

    return TextFile(path, metadata.num_rows, read)


OPENERS: dict[str, Callable[[Path, str, str | None, ExitStack], TextFile]] = {
    ".txt": _open_text,
    ".md": _open_text,
    ".jsonl": _open_lines,
    ".json": _open_lines,
}
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
