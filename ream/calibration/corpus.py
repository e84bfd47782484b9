"""The calibration artifact, and people's own tokens: Parquet rows {source: string, input_ids: list<int>}.

Key ``ream`` of an artifact's metadata holds JSON on where its rows come from.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ream.errors import UserError, unknown
from ream.machine.files import replacing

KEY = b"ream"
SCHEMA = pa.schema([("source", pa.string()), ("input_ids", pa.list_(pa.int32()))])
EXPECTED = "rows of {source: string, input_ids: list of integers} are expected"


@dataclass(frozen=True)
class Corpus:
    """Sequences of token ids, the name of the source of each, and the facts about them ({} for a foreign file)."""

    source: list[str]
    sequences: list[list[int]]
    facts: dict[str, Any]

    def select(self, source: str | None) -> "Corpus":
        """The rows of one source, in their order; all rows for None.

        Raises:
            UserError: the source has no rows; names the sources there are.
        """
        if source is None:
            return self
        if source not in self.source:
            raise unknown("source", source, set(self.source), "the file")
        sequences = [ids for name, ids in zip(self.source, self.sequences, strict=True) if name == source]
        return Corpus([source] * len(sequences), sequences, self.facts)


def write_corpus(path: Path, rows: Iterable[tuple[str, list[int]]], facts: dict[str, Any]) -> None:
    """Write rows of (source, token ids) and the facts about them; the same input gives the same bytes.

    ``path`` is never half a file (`ream.machine.files.replacing`); its folder is made.

    Raises:
        UserError: it can't be written.
    """
    listed = list(rows)
    table = _table([source for source, _ in listed], [ids for _, ids in listed]).replace_schema_metadata(
        {KEY: json.dumps(facts, sort_keys=True).encode()}
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _table(sources: list[str], sequences: list[list[int]]) -> pa.Table:
    """Equivalent to pa.table of the two lists, which would import pandas (a third of a second) to see it is not one."""
    names = [source.encode() for source in sources]
    ids = np.fromiter(chain.from_iterable(sequences), dtype=np.int32)
    name_ends, id_ends = (np.cumsum([0, *map(len, values)], dtype=np.int32) for values in (names, sequences))
    text, lists = SCHEMA.types
    values = pa.Array.from_buffers(lists.value_type, len(ids), [None, pa.py_buffer(ids)])
    columns = [
        pa.Array.from_buffers(text, len(names), [None, pa.py_buffer(name_ends), pa.py_buffer(b"".join(names))]),
        pa.Array.from_buffers(lists, len(sequences), [None, pa.py_buffer(id_ends)], children=[values]),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def read_corpus(path: Path, may_be_empty: bool = False) -> Corpus:
    """Read an artifact of `write_corpus` or a file of own tokens: all rows, as they are.

    Any integer type and large or fixed-size lists will do; further columns are ignored.

    Raises:
        UserError: the file is missing or not Parquet, a column is missing or of another type, there is no row where
            there must be one, or a row has no source, no tokens, an empty value among them or a negative one.
    """
    if not path.is_file():
        raise UserError(f"{path} is no file; name a Parquet file: {EXPECTED}")
    try:
        with pq.ParquetFile(path) as file:
            _check_schema(path, file.schema_arrow)
            table = file.read(columns=SCHEMA.names)
            metadata = file.schema_arrow.metadata or {}
    except pa.ArrowInvalid:
        raise UserError(f"{path} is not a Parquet file; {EXPECTED}") from None
    if table.num_rows == 0 and not may_be_empty:
        raise UserError(f"{path} has no rows; {EXPECTED}")
    sources = table.column("source").to_pylist()
    if None in sources:
        raise UserError(f"{path}, row {sources.index(None) + 1}: source is empty; {EXPECTED}")
    return Corpus(sources, _sequences(path, table.column("input_ids")), _facts(path, metadata.get(KEY)))


def check_vocabulary(corpus: Corpus, vocabulary_size: int, path: Path) -> None:
    """Refuse token ids the model has no embedding for.

    Raises:
        UserError: naming the row, the id and how many ids there are.
    """
    for row, ids in enumerate(corpus.sequences, start=1):
        if max(ids) >= vocabulary_size:
            raise UserError(
                f"{path}, row {row}: token id {max(ids)} is outside the model's vocabulary of {vocabulary_size}; "
                "encode the text with this model's tokenizer"
            )


def _check_schema(path: Path, schema: pa.Schema) -> None:
    for name in SCHEMA.names:
        if name not in schema.names:
            raise UserError(f"{path} has no column '{name}', only {', '.join(schema.names)}; {EXPECTED}")
    source, ids = schema.field("source").type, schema.field("input_ids").type
    if pa.types.is_dictionary(source):
        source = source.value_type
    if not (pa.types.is_string(source) or pa.types.is_large_string(source)):
        raise UserError(f"{path}: column 'source' holds {source}; {EXPECTED}")
    lists = pa.types.is_list(ids) or pa.types.is_large_list(ids) or pa.types.is_fixed_size_list(ids)
    if not (lists and pa.types.is_integer(ids.value_type)):
        raise UserError(f"{path}: column 'input_ids' holds {ids}; {EXPECTED}")


def _sequences(path: Path, column: pa.ChunkedArray) -> list[list[int]]:
    # without fill_null and to_numpy, which would import pandas
    found: list[list[int]] = []
    for chunk in column.chunks:
        lengths = [length or 0 for length in pc.list_value_length(chunk).to_pylist()]
        flat = chunk.flatten()
        values = flat.to_pylist() if flat.null_count else np.from_dlpack(flat).tolist()
        end = 0
        for length in lengths:
            begin, end = end, end + length
            ids = values[begin:end]
            if not ids or None in ids or min(ids) < 0:
                what = "no tokens" if not ids else "an empty value among its tokens" if None in ids else "a negative id"
                raise UserError(f"{path}, row {len(found) + 1}: {what}; leave the row out or correct it")
            found.append(ids)
    return found


def _facts(path: Path, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {}
    try:
        return dict(json.loads(data))
    except ValueError:
        raise UserError(f"{path}: its metadata '{KEY.decode()}' is not JSON; run the calibration stage again") from None
