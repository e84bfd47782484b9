"""Stage calibration@source: text or tokens of one source to artifacts/calibration/<source>.parquet.

And the sequences after those to artifacts/held-out, for what is measured on text that no model was made with.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ream.calibration.corpus import check_vocabulary, read_corpus, write_corpus
from ream.calibration.document import Document
from ream.calibration.sampling import Drawn, draw
from ream.calibration.sources import TextSource, iter_texts, resolved_revision
from ream.calibration.tokenizer import Encoder, load_encoder
from ream.errors import unknown
from ream.machine.files import file_digest
from ream.machine.progress import QUIET_SECONDS, Progress
from ream.params import Calibration, HubSource, Params, TokensSource

Row = tuple[str, list[int]]  # source, token ids


def run(
    params: Params, source: str, out: Path, model_path: str, model_revision: str | None, held_out: Path | None = None
) -> str:
    """Draw the sequences of one source with the model's tokenizer and write them to ``out``; own tokens pass through.

    Args:
        params: all settings; ``sources`` and ``calibration`` are read.
        source: name of an entry of ``params.sources``.
        out: the Parquet file to write.
        model_path: folder or hub id of the model whose tokenizer is used.
        model_revision: branch, tag or commit of a hub id.
        held_out: the Parquet file for `rank.sequences` more sequences, or as many as the source has; own tokens have
            none.

    Returns:
        What was drawn, in a line.

    Raises:
        UserError: the source is unknown or can't be read, has too little text, or has tokens the model doesn't.
    """
    if source not in params.sources:
        raise unknown("source", source, params.sources, "params 'sources'")
    settings = params.sources[source]
    encoder = load_encoder(model_path, model_revision, params.model.trust_remote_code)
    if isinstance(settings, TokensSource):
        (rows, facts), further = _own(settings, encoder), Drawn([], 0, 0)
    else:
        wanted = 0 if held_out is None else params.rank.sequences
        rows, further, facts = _drawn(source, settings, encoder, params.calibration, wanted)
    facts |= {"name": source, "source": settings.model_dump(), "tokenizer": encoder.fingerprint}
    write_corpus(out, rows, facts)
    if held_out is not None:
        more = {"name": source, "calibration": file_digest(out), "counts": _counts(further)}
        write_corpus(held_out, [(source, ids) for ids in further.sequences], more)
    counts = facts["counts"]
    return (
        f"{source}: {len(rows)} sequences, {counts['tokens']} tokens, from {counts['documents_read']} documents "
        f"({counts['documents_too_short']} too short)"
    )


def _own(source: TokensSource, encoder: Encoder) -> tuple[list[Row], dict[str, Any]]:
    path = Path(source.path)
    corpus = read_corpus(path)
    check_vocabulary(corpus, encoder.vocabulary_size, path)
    corpus = corpus.select(source.source)
    rows = list(zip(corpus.source, corpus.sequences, strict=True))
    tokens = sum(map(len, corpus.sequences))
    counts = {"documents_read": len(rows), "documents_too_short": 0, "tokens": tokens}
    return rows, {"dataset": source.path, "revision": None, "seed": None, "counts": counts}


def _told(texts: Iterator[Document], progress: Progress) -> Iterator[Document]:
    for text in texts:
        progress.update()
        yield text


def _drawn(
    name: str, source: TextSource, encoder: Encoder, calibration: Calibration, held_out: int
) -> tuple[list[Row], Drawn, dict[str, Any]]:
    """The calibration's sequences, up to ``held_out`` that follow them, and what is to be said of the former."""
    dataset = source.dataset if isinstance(source, HubSource) else None
    revision = resolved_revision(source)
    if revision is not None:
        source = source.model_copy(update={"revision": revision})
    texts = iter(iter_texts(source, calibration.seed))
    with Progress(None, f"calibration@{name}", " documents", delay=QUIET_SECONDS) as progress:
        told = _told(texts, progress)
        drawn = draw(told, encoder.encode, calibration)
        further = draw(told, encoder.encode, calibration, held_out)
    facts = {"dataset": dataset, "revision": revision, "seed": calibration.seed, "counts": _counts(drawn)}
    return [(name, ids) for ids in drawn.sequences], further, facts | {"calibration": calibration.model_dump()}


def _counts(drawn: Drawn) -> dict[str, int]:
    return {
        "documents_read": drawn.documents_read,
        "documents_too_short": drawn.documents_too_short,
        "tokens": drawn.tokens,
    }
