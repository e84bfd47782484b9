"""The verdict in words, made from the numbers: the best methods, what each source buys, and what cannot be told."""

from collections.abc import Mapping, Sequence

from ream.analysis.html.best import Entry, best
from ream.analysis.html.measures import AVG, GEN, LOSS
from ream.analysis.html.sources import what_sources_buy
from ream.analysis.html.statements import SizeVerdict, Statement, Verdict, counted
from ream.analysis.results.methods import without_ablations
from ream.analysis.results.rows import ORIGINAL, OURS, ROLES, Row, in_mixes, mix_name, sizes
from ream.evaluation.scores import Cell

Mixes = Mapping[str, Mapping[str, float]]

NOT_SCORED = "No compressed model has been scored: there is nothing to compare yet."
ONE_METHOD_BEST = (
    "Each method stands with its best mix, chosen by the same questions or text that it is scored on: "
    "the best of many mixes looks a little better than it is."
)
NOISE = (
    "Intervals are 95% and show the noise of a finite number of questions or amount of text only, not that of another "
    "calibration sample, seed or prompt. Differences take the two models' errors as independent, though both answered "
    "the same questions: their intervals are, if anything, too wide."
)
SHARES = (
    "The shares of a mix sum to 1, so that more of one source is less of the others, and the mixes were chosen, not "
    "drawn at random: a correlation says what goes together in these mixes, no more."
)


def verdicts(rows: Sequence[Row], cells: Sequence[Cell] = (), mixes: Mixes | None = None) -> tuple[Verdict, ...]:
    """One verdict a model and origin, in the order of the rows; variants of REAM (ablations) do not take part.

    Args:
        rows: of any models and origins; MC and GEN may be missing.
        cells: of our models, for the held-out losses; for these, rows of one model of ours are expected.
        mixes: name to ratios, as in params.yaml: what mixes are called.
    """
    found = []
    ours = list(dict.fromkeys(row.model for row in rows if row.origin == OURS))
    for model, origin in dict.fromkeys((row.model, row.origin) for row in rows):
        chosen = [row for row in rows if (row.model, row.origin) == (model, origin)]
        own = [cell for cell in cells if origin == OURS and ours == [model]]
        found.append(_verdict(model, origin, without_ablations(chosen), own, mixes or {}))
    return tuple(found)


def _verdict(model: str, origin: str, rows: Sequence[Row], cells: Sequence[Cell], mixes: Mixes) -> Verdict:
    compressed = [row for row in rows if row.method != ORIGINAL]
    if not compressed:
        return Verdict(model, origin, (), (NOT_SCORED,))
    methods = {row.method for row in compressed}
    cells = [cell for cell in cells if cell.method is None or cell.method in methods]
    found = [
        SizeVerdict(experts, _best(rows, cells, experts, mixes), what_sources_buy(rows, experts))
        for experts in sizes(rows)
    ]
    return Verdict(model, origin, tuple(found), _notes(compressed, found))


def _best(rows: Sequence[Row], cells: Sequence[Cell], experts: int, mixes: Mixes) -> tuple[Statement, ...]:
    original = next((row for row in rows if row.method == ORIGINAL), None)
    models = [Entry(row.method, called(row, mixes), row) for row in rows if row.method != ORIGINAL
              and row.experts == experts]  # fmt: skip
    found = [best(models, measure, None if original is None else measure.value(original)) for measure in (GEN, AVG)]
    losses = [Entry(cell.method, _cell_mix(cell, mixes), cell) for cell in cells if cell.method is not None
              and cell.experts == experts]  # fmt: skip
    found.append(best(losses, LOSS, next((cell.mean_loss for cell in cells if cell.method is None), None)))
    return tuple(statement for statement in found if statement is not None)


def _notes(rows: Sequence[Row], found: Sequence[SizeVerdict]) -> tuple[str, ...]:
    notes = []
    for measure, field in (("MC", "mc"), ("GEN", "gen")):
        missing = sum(getattr(row, field) is None for row in rows)
        if missing == len(rows):
            notes.append(f"No compressed model has {measure}: nothing is said of it.")
        elif missing:
            models = counted(missing, "compressed model has", "compressed models have")
            notes.append(f"{models} no {measure} and {'is' if missing == 1 else 'are'} left out where it counts.")
    mixed = {row.mix_key for row in rows if in_mixes(row)}
    if len(mixed) < 2:
        several = "One mix of two or more sources was run" if mixed else "No known mix of two or more sources was run"
        notes.append(f"{several}: what each source buys cannot be told from it.")
    elif not any(size.sources for size in found):
        notes.append("No mix has both MC and GEN: what each source buys cannot be told.")
    if len({row.mix_key for row in rows}) > 1:
        notes.append(ONE_METHOD_BEST)
    if any(point.low is not None for size in found for statement in size.best for point in statement.points):
        notes.append(NOISE)
    if any(size.sources for size in found) and len(mixed) > 1:
        notes.append(SHARES)
    return tuple(notes)


def called(row: Row, mixes: Mixes) -> str:
    """What a row's mix is called: its name in params.yaml or in the paper, and its ratios; empty where not known."""
    if not row.ratios:
        return ""
    name = next((name for name, ratios in mixes.items() if _key(ratios) == row.mix_key), mix_name(row))
    return f"{name} ({row.mix})" if name else row.mix


def _cell_mix(cell: Cell, mixes: Mixes) -> str:
    if cell.mix is None:
        return ""
    ratios = mixes.get(cell.mix, {})
    return f"{cell.mix} ({':'.join(f'{ratio:g}' for ratio in ratios.values())})" if ratios else cell.mix


def _key(ratios: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return Row("", "", "", 1, {ROLES.get(source, source): ratio for source, ratio in ratios.items()}).mix_key
