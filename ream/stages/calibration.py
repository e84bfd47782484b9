"""Stage calibration: text or tokens of one source to sequences of token ids.

It also draws the sequences that follow them, for measurements on text that no model was calibrated on.
"""

from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ream.calibration.chat import ChatTemplate
from ream.calibration.corpus import check_lengths, check_vocabulary, read_corpus, write_corpus
from ream.calibration.document import Document
from ream.calibration.drawing import drawing
from ream.calibration.parts import row_is_held_out
from ream.calibration.sampling import Drawn
from ream.calibration.sources import TextSource, calibrated_and_held_out, divided, resolved_revision
from ream.calibration.tokenizer import Encoder, load_encoder
from ream.errors import UserError, unknown
from ream.evaluation.windows import end_token
from ream.machine.files import file_digest
from ream.machine.progress import QUIET_SECONDS, Progress
from ream.models.family.limits import Limits, limits_of
from ream.models.inspection.manifest import folder_of, load_manifest
from ream.params import Calibration, HubSource, Params, TokensSource
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.shares import read_share

Row = tuple[str, list[int]]  # source, token ids


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write the calibration sequences of a source, and its held-out sequences, with the original's tokenizer.

    Raises:
        UserError: see `write_sequences`; or there is no manifest yet.
    """
    source, model = options.source, folder_of(load_manifest(workspace.manifest))
    limits = limits_of(model)
    needed = read_share(workspace, source) if workspace.share(source).exists() else None  # None: by hand, before check
    return write_sequences(
        params, source, model, workspace.calibration(source), workspace.held_out(source), limits, needed
    )


def write_sequences(
    params: Params, source: str, model: Path, out: Path, held_out: Path, limits: Limits, needed: int | None = None
) -> str:
    """Draw the sequences of one source with a model's tokenizer and write them; own tokens are taken as they are.

    Args:
        params: all settings; ``sources``, ``calibration``, ``rank`` and ``model.special_tokens`` are read.
        source: name of an entry of ``params.sources``.
        model: folder of the model whose tokenizer is used; own tokens need none.
        out: the Parquet file of the calibration sequences.
        held_out: the Parquet file of `rank.sequences` other sequences, or as many as the source has: those that follow
            or, of a source with ``held_out``, those of its held-out text. Own tokens have none.
        limits: what the model's inputs can be.
        needed: the least number of calibration sequences, where the source has fewer than ``calibration.sequences``;
            by default all of them. As many as `rank.sequences` of those beyond it are held out then.

    Returns:
        One line that says what was drawn.

    Raises:
        UserError: the source is unknown or cannot be read, has too little text, or has tokens that the model lacks;
            there is text, but no tokenizer; or sequences are longer than the model's inputs can be.
    """
    if source not in params.sources:
        raise unknown("source", source, params.sources, "params 'sources'")
    settings = params.sources[source]
    if isinstance(settings, TokensSource):
        (rows, facts), further = _own_tokens(settings, limits), Drawn([], 0, 0)
    else:
        limits.check_setting("calibration.tokens", params.calibration.tokens)
        encoder = load_encoder(str(model), None, params.model.trust_remote_code, params.model.special_tokens)
        end = end_token(model) if params.calibration.packing else None
        chat = ChatTemplate(model, params.model.trust_remote_code)
        rows, further, facts = _drawn(
            source, settings, encoder, chat, params.calibration, end, params.rank.sequences, needed
        )
        for _, ids in (*rows, *((source, ids) for ids in further.sequences)):
            limits.check_encoded(ids, model)
    # A setting of later times changes no artifact of those who leave it as it is.
    usual = {"windows": 1, "count": None, "tools": None, "held_out": None}
    unused = {name for name, value in usual.items() if getattr(settings, name, value) == value}
    facts |= {"name": source, "source": settings.model_dump(exclude=unused)}
    write_corpus(out, rows, facts)
    held_out_facts = {"name": source, "calibration": file_digest(out), "counts": _counts(further)}
    write_corpus(held_out, [(source, ids) for ids in further.sequences], held_out_facts)
    counts, special = facts["counts"], facts.get("special_tokens", {"before": [], "after": []})
    added = [f"{len(ids)} {where}" for where, ids in special.items() if ids]
    wanted = params.calibration.sequences
    short = needed is not None and len(rows) < wanted and not isinstance(settings, TokensSource)
    return (
        f"{source}: {len(rows)} sequences, {counts['tokens']} tokens, from {counts['documents_read']} documents "
        f"({counts['documents_too_short']} too short)"
        + (f"; special tokens of each text: {', '.join(added)}" if added else "")
        + (f"; {_named(facts['labels'])}" if "labels" in facts else "")
        + (f"; it has no {wanted}, and the mixes need {needed}" if short else "")
    )


def _named(labels: dict[str, int], shown: int = 12) -> str:
    """Labels of the documents drawn with their numbers, the most frequent first."""
    ranked = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(ranked) - shown} more" if len(ranked) > shown else ""
    return ", ".join(f"{label} {count}" for label, count in ranked[:shown]) + more


def _own_tokens(source: TokensSource, limits: Limits) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a Parquet file of tokens, and the facts about them."""
    path = Path(source.path)
    corpus = read_corpus(path)
    check_vocabulary(corpus, limits.vocabulary, path)
    check_lengths(corpus, limits.positions, path)
    corpus = corpus.select(source.source)
    pairs = zip(corpus.source, corpus.sequences, strict=True)
    rows = [(name, ids) for name, ids in pairs if not row_is_held_out(ids, source.held_out)]
    tokens = sum(map(len, corpus.sequences))
    counts = {"documents_read": len(rows), "documents_too_short": 0, "tokens": tokens}
    return rows, {"dataset": source.path, "revision": None, "seed": None, "tokenizer": None, "counts": counts}


def _counted(texts: Iterator[Document], progress: Progress) -> Iterator[Document]:
    for text in texts:
        progress.update()
        yield text


def _drawn(
    name: str,
    source: TextSource,
    encoder: Encoder,
    chat: ChatTemplate,
    calibration: Calibration,
    end: int | None,
    held_out: int,
    needed: int | None,
) -> tuple[list[Row], Drawn, dict[str, Any]]:
    """The calibration sequences, up to ``held_out`` other sequences, and the facts about the former."""
    dataset = source.dataset if isinstance(source, HubSource) else None
    revision = resolved_revision(source)
    if revision is not None:
        source = source.model_copy(update={"revision": revision})
    draw = drawing(source, encoder, calibration, end)

    def both(most: int | None) -> tuple[Drawn, Drawn]:
        texts = dict.fromkeys(calibrated_and_held_out(source, calibration.seed, calibration.tokens, chat.render))
        with Progress(None, f"calibration@{name}", " documents", delay=QUIET_SECONDS) as progress:
            documents = [_counted(each, progress) for each in texts]
            try:
                drawn = draw(documents[0], most, needed)
            except UserError as error:
                raise UserError(f"source '{name}': {error}") from None
            return drawn, draw(documents[-1], held_out)

    drawn, further = both(None if needed is None else calibration.sequences)
    missing = 0 if divided(source) else held_out - len(further.sequences)
    if needed is not None and missing > 0 and needed < len(drawn.sequences) < calibration.sequences:
        drawn, further = both(max(needed, len(drawn.sequences) - missing))
    facts = {
        "dataset": dataset,
        "revision": revision,
        "seed": calibration.seed,
        "calibration": calibration.model_dump(exclude=None if calibration.packing else {"packing", "separator"}),
        "tokenizer": encoder.fingerprint,
        "special_tokens": asdict(encoder.special),
        "counts": _counts(drawn),
    }
    if isinstance(source, HubSource):
        facts["datasets"] = version("datasets")  # which decides the order of the rows
    if chat.fingerprint is not None:
        facts["chat_template"] = chat.fingerprint
    if drawn.labels:
        facts["labels"] = drawn.labels
    return [(name, ids) for ids in drawn.sequences], further, facts


def _counts(drawn: Drawn) -> dict[str, int]:
    return {
        "documents_read": drawn.documents_read,
        "documents_too_short": drawn.documents_too_short,
        "tokens": drawn.tokens,
    }
