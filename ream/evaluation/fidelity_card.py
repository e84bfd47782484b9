"""A model's fidelity in its card: a section of README.md, which a later measurement replaces."""

from collections.abc import Mapping
from pathlib import Path

from ream.errors import UserError
from ream.evaluation.fidelity_records import Fidelity, Measure, Measures
from ream.machine.documents import read_text
from ream.machine.files import replacing
from ream.machine.unwritten import check_replaceable
from ream.recipe.card import text

CARD = "README.md"
BEGIN, END = "<!-- fidelity, measured by ream -->", "<!-- end of fidelity -->"
HEAD = ("text", "KL (nats/token)", "top-1 agreement (%)", "perplexity ratio", "sequences", "tokens")


def check_card(model: str) -> Path:
    """The card of a model; refuses one that cannot be written, before anything is measured.

    Args:
        model: a folder.

    Raises:
        UserError: it is no folder, has no card, or one whose section has no end; or the card cannot be written.
    """
    card = Path(model) / CARD
    if not Path(model).is_dir():
        raise UserError(
            f"--card writes into the {CARD} of a folder, and {model} is none; fetch the model into a folder"
        )
    if not card.is_file():
        raise UserError(f"--card: {model} has no {CARD}; write one, or leave --card out")
    with_section(read_text(card), "", str(card))
    check_replaceable(card)
    return card


def write_into_card(card: Path, fidelity: Fidelity, original: str, tokens: int) -> None:
    """Put a section with the fidelity at the end of a card, or in the place of an earlier one.

    Args:
        card: the file.
        fidelity: of the card's model.
        original: that it was compared with.
        tokens: of a sequence, at most.
    """
    content = with_section(read_text(card), section(fidelity, original, tokens), str(card))
    with replacing(card) as temporary:
        temporary.write_text(content, encoding="utf-8")


def section(fidelity: Fidelity, original: str, tokens: int) -> str:
    """The section in Markdown; files are named without their folders."""
    rows: Mapping[str, Measures] = {Path(name).name or name: row for name, row in fidelity.sources.items()}
    if len(rows) > 1:
        rows = {**rows, "mean": fidelity.mean}
    lines = [
        "## Fidelity",
        "",
        f"How close the predictions of the next token are to those of {text(original)}, on sequences of up to {tokens} "
        "tokens. In brackets are 95% intervals of a bootstrap over sequences.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{' --- |' * len(HEAD)}",
    ]
    for name, row in rows.items():
        cells = (
            text(name), shown(row.kl, 4), shown(row.top_1, 2), shown(row.perplexity_ratio, 3),
            f"{row.sequences:,}", f"{row.tokens:,}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def with_section(card: str, content: str, where: str) -> str:
    """A card with the section in it.

    Args:
        card: the card's text.
        content: of the section.
        where: the card, for the message.

    Raises:
        UserError: the card has the beginning of a section and not its end.
    """
    new = f"{BEGIN}\n{content}\n{END}"
    before, begun, rest = card.partition(BEGIN)
    if not begun:
        return f"{card.rstrip()}\n\n{new}\n"
    _, ended, after = rest.partition(END)
    if not ended:
        raise UserError(f"{where} has '{BEGIN}' without '{END}'; remove the first or add the second")
    return before + new + after


def shown(measure: Measure, digits: int) -> str:
    """A value, and the ends of its interval where it has one."""
    value = f"{measure.value:.{digits}f}"
    if measure.low is None or measure.high is None:
        return value
    return f"{value} [{measure.low:.{digits}f}, {measure.high:.{digits}f}]"
