"""Rows to draw, and figures read back."""

from pathlib import Path

import numpy as np

from ream.analysis.results.rows import Row, Score

FOLDER = Path(__file__).parents[3] / "data" / "published"


def row(method="ream", mc=50.0, gen=40.0, origin="ours", experts=8, model="m", avg=None, **ratios):
    return Row(origin, model, method, experts, ratios or {"math": 1.0, "code": 1.0}, mc=mc, gen=gen, avg=avg)


def measured(method, gen, stderr, origin="ours", mc=50.0, **ratios):
    """A row of one task a suite, with the same standard error."""
    suites = {"mc_tasks": {"a": Score(mc, stderr)}, "gen_tasks": {"b": Score(gen, stderr)}}
    return Row(origin, "m", method, 8, ratios, mc=mc, gen=gen, **suites)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def line_of(axis, label):
    (line,) = [line for line in axis.lines if line.get_label() == label]
    return line


def data(line):
    return list(zip(*(np.asarray(part, dtype=float).tolist() for part in line.get_data()), strict=True))


def segments(axis):
    """Lines of two points across or up and down, as (low, high) ends rounded to whole points."""
    return [tuple((round(float(x)), round(float(y))) for x, y in data(line))
            for line in axis.lines if len(line.get_xdata()) == 2]  # fmt: skip
