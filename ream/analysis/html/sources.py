"""What each calibration source buys, said from the correlations of its share with MC and GEN over the mixes."""

from collections.abc import Mapping, Sequence

from ream.analysis.html.statements import Point, Standing, Statement, counted, listed, number
from ream.analysis.numbers.correlation import Correlation
from ream.analysis.numbers.mixes import correlations_of, series_of
from ream.analysis.results.rows import Row

BOTH = ("MC", "GEN")


def what_sources_buy(rows: Sequence[Row], experts: int) -> tuple[Statement, ...]:
    """For each source with MC and with GEN, and for MC with GEN: with which methods, how sure, or why it is not known.

    Args:
        rows: of one model and one origin. experts: the size.

    Returns:
        a statement a pair; none where no method has two mixes with both means.
    """
    found: dict[tuple[str, str], dict[str, Correlation]] = {}
    series_here = series_of(rows, experts)
    if all(len(points.rows) < 2 for points in series_here.values()):
        return ()
    for series, points in series_here.items():
        for pair, correlation in correlations_of(points).items():
            found.setdefault(pair, {})[series.method] = correlation
    return tuple(_statement(pair, methods) for pair, methods in found.items())


def _statement(pair: tuple[str, str], found: Mapping[str, Correlation]) -> Statement:
    more = "A higher MC" if pair == BOTH else f"A larger share of {pair[0]}"
    counts = {correlation.points for correlation in found.values()}
    equal = len(counts) == 1
    ways: dict[str, list[str]] = {"higher": [], "lower": [], "crosses": [], "few": [], "undefined": []}
    for method, correlation in found.items():
        ways[_way(correlation)].append(_said(method, correlation, equal))
    clear = [f"{way} {pair[1]} for {listed(ways[way])}" for way in ("higher", "lower") if ways[way]]
    sentences = [f"{more} goes with {', with '.join(clear)}."] if clear else []
    what = f"What a larger share of {pair[0]} does to {pair[1]}" if pair != BOTH else "How MC and GEN go together"
    open_ends = (
        ("crosses", "the interval crosses zero"),
        ("few", "fewer than 4 mixes give no interval"),
    )
    for way, reason in open_ends:
        if ways[way]:
            subject = "This" if sentences else what
            sentences.append(f"{subject} cannot be told for {listed(ways[way])}: {reason}.")
    if ways["undefined"]:
        sentences.append(f"{more} and {pair[1]}: no correlation is defined for {listed(ways['undefined'])}.")
    if equal and counts:
        sentences.append(f"{counted(counts.pop(), 'mix', 'mixes')} each.")
    standing: Standing = "clear" if clear else "noise" if ways["crosses"] else "unknown"
    points = tuple(
        Point(method, counted(one.points, "mix", "mixes"), one.r, one.low, one.high, digits=2, signed=True)
        for method, one in found.items()
    )
    return Statement(f"{pair[0]} → {pair[1]}" if pair != BOTH else "MC ↔ GEN", " ".join(sentences), standing, points, 0)


def _way(found: Correlation) -> str:
    if found.r is None:
        return "undefined"
    if found.low is None or found.high is None:
        return "few"
    return "higher" if found.low > 0 else "lower" if found.high < 0 else "crosses"


def _said(method: str, found: Correlation, equal: bool) -> str:
    mixes = "" if equal else f", {counted(found.points, 'mix', 'mixes')}"
    if found.r is None:
        return f"{method} ({found.undefined}{mixes})"
    if found.low is None or found.high is None:
        return f"{method} (r = {number(found.r, 2, True)}{mixes})"
    ends = f"{number(found.low, 2, True)} to {number(found.high, 2, True)}"
    return f"{method} (r = {number(found.r, 2, True)}, 95% interval {ends}{mixes})"
