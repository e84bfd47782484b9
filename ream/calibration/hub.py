"""Data sets of the Hugging Face hub, or local folders of the same layout, as documents in a seeded random order."""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ream.calibration.document import Document
from ream.errors import UserError
from ream.params import HubSource

COMMIT = re.compile(r"[0-9a-f]{40}")
VALUES_SHOWN = 12


def iter_rows(source: HubSource, seed: int) -> Iterator[Document]:
    """Texts of the rows whose every ``where`` column has one of its values, compared as strings.

    The order is that of ``datasets``' shuffle: of the whole split, or while streaming of a buffer of
    ``shuffle_buffer`` rows fed from shuffled shards. A row without text (null) is an empty document.

    Raises:
        UserError: the data set can't be loaded, a column is missing or no text, or ``where`` keeps no row.
    """
    wanted = list(dict.fromkeys([source.column, *source.where]))
    kept, seen = 0, dict[str, set[str]]((column, set()) for column in source.where)
    with _explained(source):
        for row in _shuffled(source, seed, wanted):
            _require(source, wanted, row)
            for column, values in seen.items():
                if len(values) < VALUES_SHOWN:
                    values.add(str(row[column]))
            if all(str(row[column]) in values for column, values in source.where.items()):
                yield Document(f"{source.dataset}/{source.split}/{seed}/{kept}", _text(source, row[source.column]))
                kept += 1
    if not kept and source.where:
        there = "; ".join(f"{column} has {sorted(values)}" for column, values in seen.items())
        raise UserError(f"dataset '{source.dataset}': no row of split '{source.split}' matches {source.where}; {there}")


def resolved_revision(source: HubSource) -> str | None:
    """Commit that ``revision`` stands for, as ``datasets`` resolves it (offline: the commit in its cache).

    None for a local folder and wherever ``datasets`` doesn't know.

    Raises:
        UserError: the data set can't be reached, or only another commit than the one asked for is in the cache.
    """
    if Path(source.dataset).is_dir():
        return None
    import datasets

    with _explained(source):
        builder = datasets.load_dataset_builder(source.dataset, source.config, revision=source.revision)
    found = builder.hash
    if found is None or not COMMIT.fullmatch(found):
        return None
    if source.revision is not None and COMMIT.fullmatch(source.revision) and found != source.revision:
        raise UserError(
            f"dataset '{source.dataset}': revision {source.revision} was asked for, but the cache holds {found} and "
            "the hub can't be reached; go online, or ask for what there is"
        )
    return found


def _shuffled(source: HubSource, seed: int, wanted: list[str]) -> Iterator[dict[str, Any]]:
    import datasets

    dataset = datasets.load_dataset(
        source.dataset,
        source.config,
        split=source.split,
        revision=source.revision,
        streaming=source.streaming,
    )
    if dataset.column_names is not None:  # JSON Lines show their columns with the first row only
        _require(source, wanted, dataset.column_names)
        dataset = dataset.select_columns(wanted)
    if source.streaming:
        return iter(dataset.shuffle(seed=seed, buffer_size=source.shuffle_buffer))
    return iter(dataset.shuffle(seed=seed))


def _require(source: HubSource, wanted: list[str], columns: Collection[str]) -> None:
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise UserError(f"dataset '{source.dataset}' has no column '{missing[0]}'; it has: {', '.join(columns)}")


def _text(source: HubSource, value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(
            f"dataset '{source.dataset}': column '{source.column}' holds {type(value).__name__}, not text; "
            "set `column` to one that holds text"
        )
    return value


@contextmanager
def _explained(source: HubSource) -> Iterator[None]:
    """Turn what ``datasets`` and ``huggingface_hub`` raise about a data set into one line and what to do."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import HTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except (DatasetNotFoundError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        page = f"https://huggingface.co/datasets/{source.dataset}"
        advice = f"check its name and revision; if it is gated, accept its terms on {page} and run `hf auth login`"
        raise _failure(source, error, advice) from None
    except (ConnectionError, TimeoutError, HTTPError) as error:
        advice = "go online (and unset HF_HUB_OFFLINE), or set `dataset` to a local folder with its files"
        raise _failure(source, error, advice) from None
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise _failure(source, error, "set dataset, config and split to what `datasets` can load") from None


def _failure(source: HubSource, error: Exception, advice: str) -> UserError:
    return UserError(f"dataset '{source.dataset}': {' '.join(str(error).split()).rstrip('.')}; {advice}")
