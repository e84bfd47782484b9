"""Parquet files of token sequences: the calibration artifact, and files of tokens that a user made.

The rows are {source: string, input_ids: list<int>}. A user's file may have a third column, ``attention_mask``, which
marks padding with 0. The key ``ream`` of an artifact's metadata holds the facts about its rows as JSON.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ream.errors import UserError, unknown
from ream.machine.documents import parse_json
from ream.machine.files import replacing

KEY = b"ream"
SCHEMA = pa.schema([("source", pa.string()), ("input_ids", pa.list_(pa.int32()))])
MASK = "attention_mask"
MOST_VALUES = 200_000_000  # token ids of a file; the paper calibrates on 1.6 million
EXPECTED = "rows of {source: string, input_ids: list of integers} are expected"


@dataclass(frozen=True)
class Corpus:
    """Sequences of token ids with their sources.

    Attributes:
        source: for each sequence the name of its source.
        sequences: token ids of each sequence, without padding.
        facts: where the sequences come from; {} for a file that ream did not write.
    """

    source: list[str]
    sequences: list[list[int]]
    facts: dict[str, Any]

    def select(self, source: str | None) -> "Corpus":
        """The rows of one source in their order; all rows for None.

        Raises:
            UserError: the source has no rows; the message names the sources that have.
        """
        if source is None:
            return self
        if source not in self.source:
            raise unknown("source", source, set(self.source), "the file")
        sequences = [ids for name, ids in zip(self.source, self.sequences, strict=True) if name == source]
        return Corpus([source] * len(sequences), sequences, self.facts)


def write_corpus(path: Path, rows: Iterable[tuple[str, list[int]]], facts: dict[str, Any]) -> None:
    """Write rows of (source, token ids) and the facts about them; the same input gives the same bytes.

    The file is written atomically (`ream.machine.files.replacing`), and its folder is made if it does not exist.

    Raises:
        UserError: the file cannot be written.
    """
    row_list = list(rows)
    table = _table([source for source, _ in row_list], [ids for _, ids in row_list]).replace_schema_metadata(
        {KEY: json.dumps(facts, sort_keys=True).encode()}
    )
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _table(sources: list[str], sequences: list[list[int]]) -> pa.Table:
    """Equivalent to pa.table of the two lists, which imports pandas (a third of a second) to check for a DataFrame."""
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
    """All rows of a file that `write_corpus` or a user wrote.

    Token ids may have any integer type, and lists may be large or of fixed size. In a file with a column
    ``attention_mask``, padding is left out: the ids with a 0 (or False), before the tokens, behind them or both.
    Other columns are ignored.

    Args:
        path: file to read.
        may_be_empty: accept a file without rows.

    Raises:
        UserError: the file is missing or not Parquet, a column is missing or has another type, the file has no rows, or
            a row has no source, no tokens, a null token or a negative one, or a mask that has another length than its
            ids, another value than 0 and 1, no 1, or a 0 between 1s.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file; name a Parquet file: {EXPECTED}")
    try:
        with pq.ParquetFile(path) as file:
            _check_schema(path, file.schema_arrow)
            _check_amount(path, file.metadata)
            masked = MASK in file.schema_arrow.names
            table = file.read(columns=[*SCHEMA.names, *([MASK] if masked else [])])
            metadata = file.schema_arrow.metadata or {}
    except (pa.ArrowException, OSError, UnicodeDecodeError):  # whose messages are about the library's own code
        raise UserError(f"{path} is not a Parquet file, or damaged; {EXPECTED}") from None
    if table.num_rows == 0 and not may_be_empty:
        raise UserError(f"{path} has no rows; {EXPECTED}")
    try:
        sources = table.column("source").to_pylist()
    except UnicodeDecodeError:
        raise UserError(f"{path}: column 'source' has text that is not UTF-8; {EXPECTED}") from None
    if None in sources:
        raise UserError(f"{path}, row {sources.index(None) + 1}: source is empty; {EXPECTED}")
    sequences = _sequences(path, table.column("input_ids"), table.column(MASK) if masked else None)
    return Corpus(sources, sequences, _facts(path, metadata.get(KEY)))


def check_vocabulary(corpus: Corpus, vocabulary_size: int, path: Path) -> None:
    """Refuse token ids that the model has no embedding for.

    Raises:
        UserError: names the row, the token id and the vocabulary size.
    """
    for row, ids in enumerate(corpus.sequences, start=1):
        if max(ids) >= vocabulary_size:
            raise UserError(
                f"{path}, row {row}: token id {max(ids)} is outside the model's vocabulary of {vocabulary_size}; "
                "encode the text with this model's tokenizer"
            )


def check_lengths(corpus: Corpus, positions: int | None, path: Path) -> None:
    """Refuse rows that are longer than the model's inputs can be.

    Args:
        corpus: rows of the file.
        positions: the most tokens of an input; None for a model without a limit.
        path: the file, for messages.

    Raises:
        UserError: names the row, its length and the limit.
    """
    for row, ids in enumerate(corpus.sequences, start=1):
        if positions is not None and len(ids) > positions:
            raise UserError(
                f"{path}, row {row}: {len(ids)} tokens are more than the model's {positions} positions "
                "(max_position_embeddings in its config.json); split the row or shorten it"
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
    if not (_is_list(ids) and pa.types.is_integer(ids.value_type)):
        raise UserError(f"{path}: column 'input_ids' holds {ids}; {EXPECTED}")
    mask = schema.field(MASK).type if MASK in schema.names else pa.list_(pa.bool_())
    if not (_is_list(mask) and (pa.types.is_integer(mask.value_type) or pa.types.is_boolean(mask.value_type))):
        raise UserError(f"{path}: column '{MASK}' holds {mask}; lists of 0 and 1 are expected, 0 for padding")


def _check_amount(path: Path, metadata: pq.FileMetaData) -> None:
    """Refuse more values than fit into memory as lists; a small file can hold any number of equal ones."""
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            if metadata.row_group(group).column(column).num_values > MOST_VALUES:
                raise UserError(f"{path} has a column of more than {MOST_VALUES:,} values; split the file")
    if metadata.num_rows > MOST_VALUES:
        raise UserError(f"{path} has more than {MOST_VALUES:,} rows; split the file")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _sequences(path: Path, ids: pa.ChunkedArray, masks: pa.ChunkedArray | None) -> list[list[int]]:
    """The token ids of each row, without those that its mask calls padding."""
    sequences: list[list[int]] = []
    mask_of_each: Iterator[list[Any] | None] = repeat(None) if masks is None else _lists(masks)
    for padded, mask in zip(_lists(ids), mask_of_each, strict=False):
        row = padded if mask is None or not padded else padded[_unmasked(path, len(sequences) + 1, len(padded), mask)]
        if not row or None in row or min(row) < 0:
            what = "no tokens" if not row else "an empty value among its tokens" if None in row else "a negative id"
            raise _bad_row(path, len(sequences) + 1, what)
        sequences.append(row)
    return sequences


def _lists(column: pa.ChunkedArray) -> Iterator[list[Any]]:
    """The list of each row, [] for null, read without fill_null and to_numpy, which would import pandas."""
    for chunk in column.chunks:
        lengths = [length or 0 for length in pc.list_value_length(chunk).to_pylist()]
        flat = chunk.flatten()
        if pa.types.is_boolean(flat.type):  # one bit each, which DLPack lacks
            flat = flat.cast(pa.uint8())
        values = flat.to_pylist() if flat.null_count else np.from_dlpack(flat).tolist()
        end = 0
        for length in lengths:
            begin, end = end, end + length
            yield values[begin:end]


def _unmasked(path: Path, row: int, length: int, mask: list[Any]) -> slice:
    """Where the tokens of a row are between its padding: the only run of 1s of its mask."""
    if len(mask) != length:
        raise _bad_row(path, row, f"{MASK} has length {len(mask)}, but input_ids has length {length}")
    tokens = mask.count(1)
    if tokens + mask.count(0) != length:
        raise _bad_row(path, row, f"{MASK} has a value other than 0 and 1")
    if not tokens:
        raise _bad_row(path, row, f"{MASK} has no 1, so all is padding")
    begin = mask.index(1)
    end = begin + tokens
    if 0 in mask[begin:end]:
        raise _bad_row(path, row, f"{MASK} has a 0 between 1s, but padding stands only before or behind all tokens")
    return slice(begin, end)


def _bad_row(path: Path, row: int, what: str) -> UserError:
    return UserError(f"{path}, row {row}: {what}; correct the row or remove it")


def _facts(path: Path, data: bytes | None) -> dict[str, Any]:
    if data is None:
        return {}
    facts = parse_json(data, f"{path}: its metadata '{KEY.decode()}'")
    if not isinstance(facts, dict):
        raise UserError(f"{path}: its metadata '{KEY.decode()}' is not an object; run the calibration stage again")
    return facts
