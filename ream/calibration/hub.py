"""Documents of a Hugging Face hub data set, or of a local folder of the same layout, in a seeded random order."""

import random
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ream.calibration.contents import Content, Render, content_of
from ream.calibration.document import Document
from ream.calibration.parts import WHOLE, Part, of_part
from ream.errors import UserError
from ream.params import HubSource

COMMIT = re.compile(r"[0-9a-f]{40}")
VALUES_SHOWN = 12
OPEN_FILES = 64  # of a streamed data set, whose rows are taken in turn


def iter_rows(source: HubSource, seed: int, part: Part = WHOLE, render: Render | None = None) -> Iterator[Document]:
    """Texts of the rows in which every ``where`` column has one of the values listed for it, compared as strings.

    ``datasets`` shuffles the rows: the whole split or, when streaming, the rows of each file in a buffer. A row whose
    text is null is an empty document. The files that are streamed come in a seeded random order, and up to
    ``OPEN_FILES`` give a row in turn, so that a split with a file for each language or subject gives all of them alike.

    Args:
        source: the data set, and the fraction of its rows that is held out.
        seed: orders the rows.
        part: of the text of a source with ``held_out``.
        render: the model's chat template, for conversations.

    Raises:
        UserError: the data set cannot be loaded, a column is missing or holds no text, or no row matches ``where``.
    """
    further = [name for name in (source.count, source.tools) if name is not None]
    columns = list(dict.fromkeys([source.column, *source.where, *further]))
    kept, seen = 0, dict[str, set[str]]((column, set()) for column in source.where)
    with _explained(source):
        for row in _shuffled(source, seed, columns):
            _require(source, columns, row)
            for column, values in seen.items():
                if len(values) < VALUES_SHOWN:
                    values.add(str(row[column]))
            if all(_among(row[column], values) for column, values in source.where.items()):
                content, label = _content(source, row, render), str(row[source.count]) if source.count else None
                name = f"{source.dataset}/{source.split}/{seed}/{kept}"
                document = Document(name, content.text, label, content.chat)
                if source.held_out is None or part.side == "all":
                    yield document
                else:
                    yield from of_part(document, part, source.held_out, cut=source.windows == "all")
                kept += 1
    if not kept and source.where:
        present = "; ".join(f"{column} has {sorted(values)}" for column, values in seen.items())
        raise UserError(
            f"dataset '{source.dataset}': no row of split '{source.split}' matches {source.where}; {present}"
        )


def _among(value: object, wanted: Collection[object]) -> bool:
    """Whether a row's value is one of those wanted: by what they print, True and true alike."""
    if isinstance(value, bool):
        return str(value).lower() in {str(one).lower() for one in wanted}
    return str(value) in {str(one) for one in wanted}


def resolved_revision(source: HubSource) -> str | None:
    """The commit that ``revision`` stands for, as ``datasets`` resolves it; offline, the commit in its cache.

    None for a local folder, and if ``datasets`` doesn't know the commit.

    Raises:
        UserError: the data set cannot be reached, or the cache holds another commit than the one asked for.
    """
    if Path(source.dataset).is_dir():
        return None
    import datasets

    with _explained(source):
        builder = datasets.load_dataset_builder(source.dataset, source.config, revision=source.revision)
    commit: str | None = builder.hash
    if commit is None or not COMMIT.fullmatch(commit):
        return None
    if source.revision is not None and COMMIT.fullmatch(source.revision) and commit != source.revision:
        raise UserError(
            f"dataset '{source.dataset}': revision {source.revision} was asked for, but the cache holds {commit} and "
            "the hub cannot be reached; go online, or set the revision to the one in the cache"
        )
    return commit


def _shuffled(source: HubSource, seed: int, columns: list[str]) -> Iterator[dict[str, Any]]:
    import datasets

    dataset = datasets.load_dataset(
        source.dataset,
        source.config,
        split=source.split,
        revision=source.revision,
        streaming=source.streaming,
    )
    if dataset.column_names is not None:  # streamed JSON Lines have no columns before the first row
        _require(source, columns, dataset.column_names)
        dataset = dataset.select_columns(columns)
    return _streamed(dataset, seed, source.shuffle_buffer) if source.streaming else iter(dataset.shuffle(seed=seed))


def _streamed(dataset: Any, seed: int, buffer: int) -> Iterator[dict[str, Any]]:
    """The rows of an ``IterableDataset``, of many files in turn; ``buffer`` rows are held, of all open files."""
    import datasets

    files = list(range(dataset.num_shards))
    random.Random(seed).shuffle(files)
    for begin in range(0, len(files), OPEN_FILES):
        group = files[begin : begin + OPEN_FILES]
        held = max(1, buffer // len(group))
        opened = [dataset.shard(len(files), file).shuffle(seed=seed, buffer_size=held) for file in group]
        if len(opened) == 1:
            yield from opened[0]
        else:
            yield from datasets.interleave_datasets(opened, stopping_strategy="all_exhausted_without_replacement")


def _require(source: HubSource, columns: list[str], present: Collection[str]) -> None:
    missing = [column for column in columns if column not in present]
    if missing:
        raise UserError(f"dataset '{source.dataset}' has no column '{missing[0]}'; it has: {', '.join(present)}")


def _content(source: HubSource, row: dict[str, Any], render: Render | None) -> Content:
    return content_of(row, source.column, source.tools, f"dataset '{source.dataset}'", render)


@contextmanager
def _explained(source: HubSource) -> Iterator[None]:
    """Turn errors of ``datasets`` and ``huggingface_hub`` into a `UserError` of one line that says what to do."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import (
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

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
