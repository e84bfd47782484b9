"""`ream compare`: how close the predictions of one model are to another's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ream.commands.configuring import configured, with_section
from ream.commands.options import Device, ModelArgument, ParamsFile, Settings, Text, WholeText
from ream.commands.output import say
from ream.commands.shipped import params_file
from ream.commands.texts import text_sources

if TYPE_CHECKING:
    from ream.calibration.tokenizer import Encoder
    from ream.evaluation.fidelity_records import Fidelity
    from ream.models.family.limits import Limits
    from ream.params import Params

HEAD = ("text", "KL (nats/token)", "top-1 agreement (%)", "perplexity ratio", "loss", "original's", "sequences")


def compare(
    original: ModelArgument,
    other: Annotated[str, typer.Argument(help="The model to compare with it: a hub id or a folder.")],
    text: Text = None,
    whole_text: WholeText = False,
    sequences: Annotated[
        int | None, typer.Option(min=1, help="Sequences of each text at most [default: rank.sequences].")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of a sequence at most [default: calibration.tokens].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSON file for the results, beside the table that is printed.")
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Put the numbers into the model card (README.md) of OTHER, a folder, too.")
    ] = False,
    device: Device = None,
    settings: Settings = None,
    params: ParamsFile = None,
) -> None:
    """Compare the predictions of two models of one vocabulary, whoever made them.

    The text is --text or, without it, what is held out of the params file's sources, run.sources. For each: the mean KL
    divergence of the next-token distribution from the original's, how often both have the same most likely token, and
    the ratio of perplexities, with 95% intervals. Each model is read one layer at a time; a model without experts, or
    one that cannot be walked so, is loaded whole.
    """
    settings_of = comparing(original, text or (), whole_text, sequences, tokens, device, settings or (), params)
    compare_models(settings_of, other, out, say, card)


def comparing(
    original: str,
    text: Sequence[str],
    whole_text: bool,
    sequences: int | None,
    tokens: int | None,
    device: str | None,
    settings: Sequence[str],
    params: Path | None,
) -> "Params":
    """The settings of a comparison, in which run.sources are the texts to measure on; the arguments are the options.

    Raises:
        UserError: a text does not exist, or a setting is unknown or not allowed.
    """
    from ream.params import parse_params

    path, texts = params_file(params), text_sources(text, whole_text)
    options = {
        "rank.sequences": ("--sequences", sequences),
        "calibration.tokens": ("--tokens", tokens),
        "compute.device": ("--device", device),
    }
    tree, _ = configured(path, tuple(settings), options, {"model.path": "the argument ORIGINAL sets it"})
    tree = with_section(tree, "model", {"path": original})
    if texts:
        tree["sources"], tree["mixes"], tree["exports"] = {**tree["sources"], **texts}, {}, {}
        tree["run"] = {**tree["run"], "sources": list(texts), "mixes": [], "rank": [], "extra": {}}
    return parse_params(tree, f"{path} with the options given")


def compare_models(
    params: "Params", other: str, out: Path | None, say: Callable[[str], None], card: bool = False
) -> "Fidelity":
    """Compare a model with that of ``params.model``, print a table and return the numbers.

    Args:
        params: all settings; ``rank.sequences`` and ``calibration.tokens`` are the sizes of the text, which is held
            out of ``run.sources``.
        other: the model to compare with it.
        out: JSON file for the results.
        say: prints a line.
        card: whether the numbers go into the other model's card, too.

    Raises:
        UserError: a model is damaged, the vocabularies differ, the text cannot be read, or there is no card.
    """
    from ream.calibration.tokenizer import load_encoder
    from ream.evaluation.compared import check_same_vocabulary, common_limits, compared, predictions
    from ream.evaluation.fidelity_card import check_card, write_into_card
    from ream.machine.files import write_json
    from ream.machine.scratch import scratch, without_workspace
    from ream.machine.unwritten import check_replaceable
    from ream.models.inspection.manifest import source_of

    if out is not None:
        check_replaceable(out)
    written = check_card(other) if card else None
    trust = params.model.trust_remote_code
    sources = [source_of(path, params.model.keep_shards) for path in (params.model.path, other)]
    first, second = (source.folder for source in sources)
    limits = common_limits(first, second)
    encoder = load_encoder(str(first), None, trust, params.model.special_tokens)
    with scratch(without_workspace()) as folder:
        texts = _texts(params, first, encoder, folder, limits)
        check_same_vocabulary(first, second, encoder, texts, trust)
        places = [folder / name for name in ("original", "other")]
        for place in places:
            place.mkdir()
        one, two = (
            predictions(source, params.compute, texts, place, trust, say)
            for source, place in zip(sources, places, strict=True)
        )
        fidelity = compared(one, two, texts)
    for line in table(fidelity):
        say(line)
    if out is not None:
        write_json(out, {"original": params.model.path, "other": other, **_made_with(params), **fidelity.model_dump()})
        say(f"results: {out}")
    if written is not None:
        write_into_card(written, fidelity, params.model.path, params.calibration.tokens)
        say(f"card: {written}")
    return fidelity


def _texts(
    params: "Params", model: Path, encoder: "Encoder", folder: Path, limits: "Limits"
) -> dict[str, list[list[int]]]:
    """The sequences of every text, by its name."""
    from ream.calibration.chat import ChatTemplate
    from ream.calibration.corpus import read_corpus
    from ream.errors import UserError
    from ream.evaluation.own_text import text_sequences
    from ream.params import FilesSource, HubSource
    from ream.stages.calibration import write_sequences
    from ream.workspace.shares import largest_shares

    sequences, tokens = params.rank.sequences, params.calibration.tokens
    limits.check_setting("calibration.tokens", tokens)
    if not sequences:
        raise UserError("rank.sequences is 0, so there is no text to compare on; give --sequences")
    texts: dict[str, list[list[int]]] = {}
    chat, shares = ChatTemplate(model, params.model.trust_remote_code), largest_shares(params)
    for source in params.run.sources:
        settings = params.sources[source]
        if isinstance(settings, FilesSource | HubSource) and settings.held_out is not None:
            texts[source] = text_sequences(source, settings, encoder, chat, tokens, sequences)
            continue
        calibration, held_out = folder / f"{source}.parquet", folder / f"{source}.held-out.parquet"
        write_sequences(params, source, model, calibration, held_out, limits, shares[source])  # as in the graph
        if rows := read_corpus(held_out, may_be_empty=True).sequences:
            texts[source] = rows
    if not texts:
        raise UserError("no source of run.sources has held-out text; give a file or folder with --text")
    for rows in texts.values():
        for ids in rows:
            limits.check_encoded(ids, model)
    return texts


def table(fidelity: "Fidelity") -> list[str]:
    """The lines of a table: a row for each text, and their mean."""
    from ream.evaluation.fidelity_card import shown

    rows = [HEAD]
    mean = [("mean", fidelity.mean)] if len(fidelity.sources) > 1 else []
    for name, measures in (*fidelity.sources.items(), *mean):
        rows.append(
            (
                name, shown(measures.kl, 4), shown(measures.top_1, 2), shown(measures.perplexity_ratio, 3),
                f"{measures.loss:.4f}", f"{measures.original_loss:.4f}", f"{measures.sequences}",
            )
        )  # fmt: skip
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _made_with(params: "Params") -> dict[str, Any]:
    """The settings and versions that the numbers depend on."""
    from ream.evaluation.bench import versions

    return {
        "settings": {
            "sequences": params.rank.sequences,
            "tokens": params.calibration.tokens,
            "seed": params.calibration.seed,
            "special_tokens": params.model.special_tokens,
            "compute": params.compute.model_dump(),
        },
        "versions": versions(),
    }
