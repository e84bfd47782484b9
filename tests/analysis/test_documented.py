"""The figures in docs/analysis.md are those the published rows give."""

import re
from pathlib import Path

import pytest

from ream.analysis.mixes import Series, correlations_of, fronts_of, series_of
from ream.analysis.published import load_published

ROOT = Path(__file__).parents[2]
METHODS = ("frequency", "reap", "hc-smoe", "ream")


def documented(experts, what):
    """Cells of the row of the last table."""
    text = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| {experts} \| {re.escape(what)} \| (.*) \|$", text, re.MULTILINE)
    return [[float(number.replace("−", "-")) for number in cell.split(", ")] for cell in line.split(" | ")]


@pytest.mark.parametrize("experts", [96, 64])
def test_documented_figures_are_computed_ones(experts):
    series = series_of(load_published(ROOT / "data" / "published").mixes, experts)
    fronts = fronts_of(series)
    for method, area, correlation in zip(
        METHODS,
        documented(experts, "HV, n/10"),
        documented(experts, "r(general, MC), r(code, GEN), r(MC, GEN)"),
        strict=True,
    ):
        one = Series(method, "paper")
        found = correlations_of(series[one])
        assert area == [pytest.approx(fronts[one].hypervolume, abs=0.0501), fronts[one].size]
        pairs = (("general", "MC"), ("code", "GEN"), ("MC", "GEN"))
        assert correlation == [pytest.approx(found[pair].r, abs=0.00501) for pair in pairs]
