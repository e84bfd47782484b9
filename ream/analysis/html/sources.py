"""What each calibration source buys, in words: correlations of its share with MC and GEN over the mixes."""

from collections.abc import Mapping, Sequence

from ream.analysis.html.statements import Point, Standing, Statement, counted, listed, number
from ream.analysis.numbers.correlation import Correlation
from ream.analysis.numbers.mixes import correlations_of, series_of
from ream.analysis.results.rows import Row

BOTH = ("MC", "GEN")
# Why a direction is unclear, by the group of the correlation (`_group`).
UNCLEAR = {"contains": "the interval contains zero", "few": "fewer than 4 mixes give no interval"}


def what_sources_buy(rows: Sequence[Row], experts: int) -> tuple[Statement, ...]:
    """Statements on how MC and GEN change with each source's share, and MC with GEN, for each method.

    Args:
        rows: rows of one model and one origin.
        experts: the size.

    Returns:
        A statement per pair of columns; none where no method has two mixes with both means.
    """
    series = series_of(rows, experts)
    if all(len(points.rows) < 2 for points in series.values()):
        return ()
    correlations: dict[tuple[str, str], dict[str, Correlation]] = {}
    for one, points in series.items():
        for pair, correlation in correlations_of(points).items():
            correlations.setdefault(pair, {})[one.method] = correlation
    return tuple(_statement(pair, by_method) for pair, by_method in correlations.items())


def _statement(pair: tuple[str, str], by_method: Mapping[str, Correlation]) -> Statement:
    """The statement on one pair of columns.

    Args:
        pair: (source, "MC" or "GEN"), or BOTH.
        by_method: method to its correlation.
    """
    more = "A higher MC" if pair == BOTH else f"A larger share of {pair[0]}"
    counts = {correlation.points for correlation in by_method.values()}
    equal = len(counts) == 1
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "contains": [], "few": [], "undefined": []}
    for method, correlation in by_method.items():
        groups[_group(correlation)].append(_method(method, correlation, equal))
    clear = [f"{way} {pair[1]} for {listed(groups[way])}" for way in ("higher", "lower") if groups[way]]
    sentences = [f"{more} goes with {', with '.join(clear)}."] if clear else []
    whole = f"How {pair[1]} moves with the share of {pair[0]}" if pair != BOTH else "How MC and GEN go together"
    for group, reason in UNCLEAR.items():
        if groups[group]:
            subject = "This" if sentences else whole
            sentences.append(f"{subject} is unclear for {listed(groups[group])}: {reason}.")
    if groups["undefined"]:
        sentences.append(f"The correlation is not defined for {listed(groups['undefined'])}.")
    if equal and counts:
        sentences.append(f"{counted(counts.pop(), 'mix', 'mixes')} each.")
    standing: Standing = "clear" if clear else "noise" if groups["contains"] else "unknown"
    points = tuple(
        Point(method, counted(one.points, "mix", "mixes"), one.r, one.low, one.high, digits=2, signed=True)
        for method, one in by_method.items()
    )
    return Statement(f"{pair[0]} → {pair[1]}" if pair != BOTH else "MC ↔ GEN", " ".join(sentences), standing, points, 0)


def _group(correlation: Correlation) -> str:
    """The sentence that a correlation belongs to."""
    if correlation.r is None:
        return "undefined"
    if correlation.low is None or correlation.high is None:
        return "few"
    return "higher" if correlation.low > 0 else "lower" if correlation.high < 0 else "contains"


def _method(method: str, correlation: Correlation, equal: bool) -> str:
    """A method with its correlation in brackets, and its number of mixes where that is not equal for all."""
    mixes = "" if equal else f", {counted(correlation.points, 'mix', 'mixes')}"
    if correlation.r is None:
        return f"{method} ({correlation.undefined}{mixes})"
    if correlation.low is None or correlation.high is None:
        return f"{method} (r = {number(correlation.r, 2, True)}{mixes})"
    ends = f"{number(correlation.low, 2, True)} to {number(correlation.high, 2, True)}"
    return f"{method} (r = {number(correlation.r, 2, True)}, 95% interval {ends}{mixes})"
