"""Colours, markers and widths."""

from ream.analysis.figures.style import KNOWN, distinct, styles


def test_known_methods_look_the_same_in_every_figure():
    every = styles([*KNOWN, "ream-a", "other"])
    assert all(every[method] == styles([method])[method] for method in KNOWN)
    assert len(set(every.values())) == len(every) == len(KNOWN) + 2
    assert len(set(distinct(81))) == 81
