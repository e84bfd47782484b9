"""The text of a search: three parts of every source that have no document in common.

The stage calibration takes the first documents of a source for calibration, and the next for the stage rank. Behind
these follow the sequences on which mixes are measured, and behind those the final ones, which the search never sees. Of
a source with ``held_out`` all but the first part come from what is held out.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ream.calibration.chat import ChatTemplate
from ream.calibration.contents import Render
from ream.calibration.corpus import read_corpus, write_corpus
from ream.calibration.document import Document
from ream.calibration.drawing import drawing
from ream.calibration.sources import calibrated_and_held_out
from ream.calibration.tokenizer import Encoder, load_encoder
from ream.errors import UserError
from ream.evaluation.windows import end_token
from ream.models.family.limits import Limits
from ream.params import HubSource, Params, TokensSource
from ream.search.held import Held

SEARCH, FINAL = "search", "final"
LOOK_SECONDS = 0.2  # between two looks at what others are drawing


@dataclass(frozen=True)
class Part:
    """Sequences of every source.

    Attributes:
        sequences: source to the token ids of its sequences; each source has as many.
    """

    sequences: Mapping[str, list[list[int]]]

    def between(self, first: int, last: int) -> tuple[list[list[int]], dict[str, int]]:
        """Sequences first to last − 1 of each source behind one another, and how many each source has of them."""
        rows = {source: own[first:last] for source, own in self.sequences.items()}
        return [ids for own in rows.values() for ids in own], {source: len(own) for source, own in rows.items()}


def check_texts(params: Params) -> None:
    """Refuse sources that are calibrated on with all that they have.

    Raises:
        UserError: names a source of own tokens.
    """
    for source in params.run.sources:
        if isinstance(params.sources[source], TokensSource):
            raise UserError(
                f"source '{source}' is a file of tokens, all of which calibrate, so none is left to search on; give "
                "its text as a source of kind files"
            )


def drawn_texts(
    params: Params, model: Path, limits: Limits, calibrated: Callable[[str], Path], folder: Path
) -> dict[str, Part]:
    """The parts SEARCH and FINAL, from files of the folder where an earlier run has drawn them.

    Args:
        params: all settings; ``search`` says how many sequences there are of each source.
        model: folder of the model whose tokenizer is used.
        limits: of the model's inputs.
        calibrated: source to the file of its calibration sequences.
        folder: keeps what was drawn.

    Raises:
        UserError: a source has too little text, or its text has changed since the calibration sequences were drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trust, special = params.model.trust_remote_code, params.model.special_tokens
    encoder = cache(lambda: load_encoder(str(model), None, trust, special))
    render, end = ChatTemplate(model, trust).render, end_token(model) if params.calibration.packing else None
    left = list(params.run.sources)
    while left:  # processes that begin together draw one source each, and wait for what others draw
        for source in list(left):
            held = Held.of(folder / f"{source}.lock")
            if held is None:
                continue
            with contextlib.closing(held):
                files = _files(folder, source)
                if not all(path.exists() for path in files.values()):
                    for part, rows in _drawn(params, source, encoder(), end, render, calibrated(source)).items():
                        for ids in rows:
                            limits.check_encoded(ids, model)
                        write_corpus(files[part], [(source, ids) for ids in rows], {"part": part})
            left.remove(source)
        if left:
            time.sleep(LOOK_SECONDS)
    return {
        part: Part({source: read_corpus(_files(folder, source)[part]).sequences for source in params.run.sources})
        for part in (SEARCH, FINAL)
    }


def _files(folder: Path, source: str) -> dict[str, Path]:
    """The file of each part of a source's text."""
    return {part: folder / f"{source}.{part}.parquet" for part in (SEARCH, FINAL)}


def _drawn(
    params: Params, source: str, encoder: Encoder, end: int | None, render: Render | None, calibrated: Path
) -> dict[str, list[list[int]]]:
    """The sequences of both parts of a source.

    Raises:
        UserError: see `drawn_texts`.
    """
    settings, search = params.sources[source], params.search
    assert not isinstance(settings, TokensSource)
    earlier = read_corpus(calibrated)
    if isinstance(settings, HubSource):  # the same revision as the calibration's
        settings = settings.model_copy(update={"revision": earlier.facts.get("revision") or settings.revision})
    seed, tokens = params.calibration.seed, params.calibration.tokens
    texts, held_out = calibrated_and_held_out(settings, seed, tokens, render)
    draw = drawing(settings, encoder, params.calibration, end)

    def following(documents: Iterator[Document], sequences: int) -> list[list[int]]:
        return draw(documents, sequences).sequences

    # Own calibration sequences may be fewer, as `ream compress` draws a source's share of a mix alone.
    if following(texts, len(earlier.sequences)) != earlier.sequences:
        raise UserError(
            f"the text of source '{source}' is not what {calibrated} was drawn from; draw it again: dvc repro, or "
            "ream search with another --out"
        )
    following(held_out, params.rank.sequences)
    parts = {SEARCH: following(held_out, search.sequences), FINAL: following(held_out, search.final_sequences)}
    wanted = search.sequences + search.final_sequences
    if (found := sum(map(len, parts.values()))) < wanted:
        raise UserError(
            f"source '{source}' has text for {found} sequences beside the {len(earlier.sequences)} of its calibration, "
            f"but the search needs {wanted} (search.sequences and search.final_sequences); lower these, give the "
            "source more text, or let long documents give several sequences (the source's `windows`)"
        )
    return parts
