"""The verdict in words, made from the numbers: the best methods, what each source buys, and what is not known."""

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
    "Each method is shown with its best mix. The mix was chosen on the same questions or text that it is scored on, so "
    "the best of many mixes looks a little better than it is."
)
NOISE = (
    "95% intervals follow from the standard errors by the normal approximation. They show only the noise of a finite "
    "number of questions or amount of text, not the effect of another calibration sample, seed or prompt. Differences "
    "treat the errors of two models as independent, though both answered the same questions: their intervals are, if "
    "anything, too wide."
)
SHARES = (
    "The shares of a mix sum to 1, so more of one source means less of the others, and the mixes were chosen, not "
    "drawn at random: a correlation says what goes together in these mixes, and no more."
)


def verdicts(rows: Sequence[Row], cells: Sequence[Cell] = (), mixes: Mixes | None = None) -> tuple[Verdict, ...]:
    """One verdict per model and origin, in the order of the rows; variants of REAM (ablations) do not take part.

    Args:
        rows: rows of any models and origins; MC and GEN may be missing.
        cells: our models, for the held-out losses, which are used only where all our rows are of one model.
        mixes: name to ratios, as in params.yaml, to call mixes by their names.
    """
    our_models = list(dict.fromkeys(row.model for row in rows if row.origin == OURS))
    return tuple(
        _verdict(
            model,
            origin,
            without_ablations([row for row in rows if (row.model, row.origin) == (model, origin)]),
            cells if origin == OURS and our_models == [model] else (),
            mixes or {},
        )
        for model, origin in dict.fromkeys((row.model, row.origin) for row in rows)
    )


def _verdict(model: str, origin: str, rows: Sequence[Row], cells: Sequence[Cell], mixes: Mixes) -> Verdict:
    """The verdict on the rows of one model and origin."""
    compressed = [row for row in rows if row.method != ORIGINAL]
    if not compressed:
        return Verdict(model, origin, (), (NOT_SCORED,))
    methods = {row.method for row in compressed}
    cells = [cell for cell in cells if cell.method is None or cell.method in methods]
    by_size = [
        SizeVerdict(experts, _best(rows, cells, experts, mixes), what_sources_buy(rows, experts))
        for experts in sizes(rows)
    ]
    return Verdict(model, origin, tuple(by_size), _notes(compressed, by_size))


def _best(rows: Sequence[Row], cells: Sequence[Cell], experts: int, mixes: Mixes) -> tuple[Statement, ...]:
    """The best methods at one size by GEN, AVG and held-out loss, where these are known."""
    original = next((row for row in rows if row.method == ORIGINAL), None)
    models = [Entry(row.method, called(row, mixes), row) for row in rows if row.method != ORIGINAL
              and row.experts == experts]  # fmt: skip
    by_score = [best(models, measure, None if original is None else measure.value(original)) for measure in (GEN, AVG)]
    losses = [Entry(cell.method, _cell_mix(cell, mixes), cell) for cell in cells if cell.method is not None
              and cell.experts == experts]  # fmt: skip
    by_loss = best(losses, LOSS, next((cell.mean_loss for cell in cells if cell.method is None), None))
    return tuple(statement for statement in (*by_score, by_loss) if statement is not None)


def _notes(rows: Sequence[Row], by_size: Sequence[SizeVerdict]) -> tuple[str, ...]:
    """What holds for all sizes, and what is not known.

    Args:
        rows: the compressed models.
        by_size: the verdicts on them.
    """
    notes = []
    for measure, field in (("MC", "mc"), ("GEN", "gen")):
        missing = sum(getattr(row, field) is None for row in rows)
        if missing == len(rows):
            notes.append(f"No compressed model has {measure}, so nothing is said about it.")
        elif missing:
            models = counted(missing, "compressed model has", "compressed models have")
            notes.append(f"{models} no {measure} and {'is' if missing == 1 else 'are'} left out wherever it is needed.")
    mixed = {row.mix_key for row in rows if in_mixes(row)}
    if len(mixed) < 2:
        run = "Only one mix" if mixed else "No known mix"
        notes.append(f"{run} of two or more sources was run, so what each source buys is not known.")
    elif not any(size.sources for size in by_size):
        notes.append("No mix has both MC and GEN, so what each source buys is not known.")
    if len({row.mix_key for row in rows}) > 1:
        notes.append(ONE_METHOD_BEST)
    if any(point.low is not None for size in by_size for statement in size.best for point in statement.points):
        notes.append(NOISE)
    if any(size.sources for size in by_size) and len(mixed) > 1:
        notes.append(SHARES)
    return tuple(notes)


def called(row: Row, mixes: Mixes) -> str:
    """The name of a row's mix in params.yaml or in the paper, and its ratios; empty where the mix is not known."""
    if not row.ratios:
        return ""
    name = next((name for name, ratios in mixes.items() if _key(ratios) == row.mix_key), mix_name(row))
    return f"{name} ({row.mix_ratios})" if name else row.mix_ratios


def _cell_mix(cell: Cell, mixes: Mixes) -> str:
    """The name of a cell's mix, and its ratios where they are known."""
    if cell.mix is None:
        return ""
    ratios = mixes.get(cell.mix, {})
    return f"{cell.mix} ({':'.join(f'{ratio:g}' for ratio in ratios.values())})" if ratios else cell.mix


def _key(ratios: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """`Row.mix_key` of ratios by the names of params.yaml."""
    return Row("", "", "", 1, {ROLES.get(source, source): ratio for source, ratio in ratios.items()}).mix_key
