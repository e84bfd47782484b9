"""How close the models' predictions are to the original's, as a table."""

from collections.abc import Sequence

from ream.analysis.results.rows import Row
from ream.analysis.tables.table import Column, Table, Value
from ream.evaluation.fidelity_records import Fidelity

KL_DIGITS = 4
ABOUT_KL = "KL: mean divergence of the next-token distribution from the original's on held-out text, in nats per token"
Spans = dict[tuple[int, int], tuple[float, float]]  # (row, column) to the ends of an interval


def kl_intervals(rows: Sequence[Row], column: int) -> Spans:
    """The intervals of the KL divergences, where there are any, for a column of a table."""
    return {
        (number, column): (row.fidelity.kl.low, row.fidelity.kl.high)
        for number, row in enumerate(rows)
        if row.fidelity is not None and row.fidelity.kl.low is not None and row.fidelity.kl.high is not None
    }


def table_of_fidelity(fidelities: Sequence[tuple[Row, Fidelity]]) -> Table:
    """A row per model and source of text, and one for the mean over the sources, with 95% intervals.

    Args:
        fidelities: the models, and how close each is to the original.
    """
    columns = (
        Column("method"), Column("mix"), Column("experts"), Column("text"), Column("KL", KL_DIGITS),
        Column("top-1 agreement", 2), Column("perplexity ratio", 3), Column("loss", 3),
        Column("loss of the original", 3), Column("sequences"), Column("tokens"),
    )  # fmt: skip
    lines: list[tuple[Value, ...]] = []
    intervals, rules = Spans(), list[int]()
    for row, fidelity in fidelities:
        rules.append(len(lines))
        mean = [("mean", fidelity.mean)] if len(fidelity.sources) > 1 else []
        for text, measures in (*fidelity.sources.items(), *mean):
            for place, measure in enumerate((measures.kl, measures.top_1, measures.perplexity_ratio), start=4):
                if measure.low is not None and measure.high is not None:
                    intervals[len(lines), place] = measure.low, measure.high
            lines.append(
                (row.method, row.mix or None, row.experts, text, measures.kl.value, measures.top_1.value,
                 measures.perplexity_ratio.value, measures.loss, measures.original_loss, measures.sequences,
                 measures.tokens)
            )  # fmt: skip
    caption = (
        f"Fidelity to the original by source of held-out text; {ABOUT_KL}; top-1 agreement in percent; perplexity "
        "ratio: of the model to the original; ±: 95% interval, by bootstrap over sequences"
    )
    return Table("table-fidelity", caption, columns, tuple(lines), rules=tuple(rules[1:]), intervals=intervals)
