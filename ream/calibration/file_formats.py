"""The kinds of local files that text is read from: a file of one document, JSON Lines, a JSON list, and Parquet."""

import itertools
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ream.calibration.contents import Content, Render, content_of
from ream.errors import UserError
from ream.machine.documents import MIB, MOST_BYTES, parse_json, read_bytes

MOST_TEXT_BYTES = 4 * 1024 * MIB  # of a file that is one document
HINT = "name one of them as `column` (on a command line FILE:COLUMN)"


@dataclass(frozen=True)
class Columns:
    """How rows become text.

    Attributes:
        text: column with the text or the conversation.
        tools: column with the tools of a conversation; None: none has any.
        render: the chat template that makes a text of a conversation; None: there is none.
    """

    text: str = "text"
    tools: str | None = None
    render: Render | None = None


@dataclass(frozen=True)
class TextFile:
    """A file of documents.

    Attributes:
        path: the file.
        rows: number of documents in it.
        read: contents of the rows with the given indices, which must ascend.
    """

    path: Path
    rows: int
    read: Callable[[list[int]], Iterator[Content]]


def opened(path: Path, columns: Columns, stack: ExitStack) -> TextFile:
    """A file by its extension; what has to be decompressed stays open as long as ``stack``.

    Raises:
        UserError: the extension is unknown, or the file is not of its format.
    """
    opener, compression = _opener(path)
    if opener is None:
        known = f"{', '.join(LINES)}, {', '.join(TEXTS)}, these with {' or '.join(COMPRESSED)} behind, or .parquet"
        raise UserError(f"{path}: files of type '{''.join(path.suffixes[-2:])}' cannot be read; use {known}")
    return opener(path, columns, compression, stack)


def is_readable(path: Path) -> bool:
    """Whether a file has the extension of a format that can be read."""
    return _opener(path)[0] is not None


def _opener(path: Path) -> "tuple[Opener | None, str | None]":
    """What opens a file, None where nothing does, and how the file is compressed."""
    compression = COMPRESSED.get(path.suffix.lower())
    suffix = (Path(path.stem).suffix if compression else path.suffix).lower()
    if suffix == ".parquet":
        return (None if compression else _open_parquet), None
    return _open_lines if suffix in LINES else _open_text if suffix in TEXTS else None, compression


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


def _open_text(path: Path, _: Columns, compression: str | None, stack: ExitStack) -> TextFile:
    def content() -> bytes:
        if compression is None:
            return read_bytes(path, MOST_TEXT_BYTES)
        file = _decompressed(path, compression, stack)
        file.seek(0)
        return file.read()

    def read(rows: list[int]) -> Iterator[Content]:
        for _ in rows:
            try:
                yield Content(content().decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: not UTF-8 at byte {error.start}; convert it") from None

    return TextFile(path, 1, read)


def _open_lines(path: Path, columns: Columns, compression: str | None, stack: ExitStack) -> TextFile:
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
            if not len(numbers) and line.lstrip().startswith(b"[") and ".json" in path.suffixes:
                return _open_list(path, columns, opened)
            if len(line) == MOST_BYTES and not line.endswith(b"\n"):
                raise UserError(f"{path}, line {number}: more than {MOST_BYTES // MIB} MiB; split the line")
            if line.strip():
                numbers.append(number)
                offsets.append(offset)
            offset += len(line)

    def read(rows: list[int]) -> Iterator[Content]:
        with opened() as file:
            for row in rows:
                file.seek(offsets[row])
                where = f"{path}, line {numbers[row]}"
                yield _row_content(parse_json(file.readline(), where), columns, where, "one JSON object per line")

    return TextFile(path, len(offsets), read)


def _open_list(path: Path, columns: Columns, opened: Callable[[], Any]) -> TextFile:
    """A .json file that is one list of objects, each a document."""
    with opened() as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: a JSON list of more than {MOST_BYTES // MIB} MiB; write it as JSON Lines, .jsonl")
    values = parse_json(content, str(path))

    def read(rows: list[int]) -> Iterator[Content]:
        for row in rows:
            yield _row_content(values[row], columns, f"{path}, entry {row + 1}", "a JSON object for each document")

    return TextFile(path, len(values), read)


def _row_content(value: Any, columns: Columns, where: str, expected: str) -> Content:
    if not isinstance(value, dict):
        raise UserError(f"{where}: {type(value).__name__} where {expected} is expected")
    if columns.text not in value:
        raise UserError(f"{where}: no column '{columns.text}'; it has: {', '.join(value)}; {HINT}")
    return content_of(value, columns.text, columns.tools, where, columns.render)


def _open_parquet(path: Path, columns: Columns, compression: str | None, stack: ExitStack) -> TextFile:
    try:
        with pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise UserError(f"{path}: not a Parquet file, or damaged; write it again or rename it") from None
    if columns.text not in schema.names:
        raise UserError(f"{path}: no column '{columns.text}'; it has: {', '.join(schema.names)}; {HINT}")
    kind = schema.field(columns.text).type
    messages = (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_struct(kind.value_type)
    if not (messages or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{path}: column '{columns.text}' holds {kind}, not text or a list of messages")
    sizes = (metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    starts = list(itertools.accumulate(sizes, initial=0))
    wanted = [name for name in (columns.text, columns.tools) if name in schema.names]

    def read(rows: list[int]) -> Iterator[Content]:
        with pq.ParquetFile(path) as file:
            for group, members in itertools.groupby(rows, key=lambda row: bisect_right(starts, row) - 1):
                try:
                    table = file.read_row_group(group, columns=wanted)
                    found = [
                        (row, {name: table.column(name)[row - starts[group]].as_py() for name in table.column_names})
                        for row in members
                    ]
                except (pa.ArrowException, OSError, UnicodeDecodeError, IndexError):
                    raise UserError(f"{path}: damaged in its row group {group + 1}; write it again") from None
                for row, values in found:
                    yield content_of(values, columns.text, columns.tools, f"{path}, row {row + 1}", columns.render)

    return TextFile(path, metadata.num_rows, read)


Opener = Callable[[Path, Columns, str | None, ExitStack], TextFile]
LINES = (".jsonl", ".json")
TEXTS = (
    ".txt", ".md", ".rst", ".org", ".tex",
    ".py", ".js", ".ts", ".java", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs", ".rb", ".php", ".swift",
    ".kt", ".scala", ".sh", ".sql", ".r", ".jl", ".lua",
)  # fmt: skip
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
