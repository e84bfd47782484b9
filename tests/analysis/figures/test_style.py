"""Colours, markers and widths."""

import itertools

import numpy as np

from ream.analysis.figures.style import FIRST, KNOWN, MARKERS, TONES, distinct, styles
from ream.analysis.results.methods import METHODS

GROUNDS = ("#ffffff", "#1b2027")  # of the page's figures, in both themes (--card)
# OKLab (Ottosson 2020): linear sRGB to cone responses, and these, after a cube root, to lightness, a and b.
TO_CONES = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                     [0.0883024619, 0.2817188376, 0.6299787005]])  # fmt: skip
TO_LAB = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                   [0.0259040371, 0.7827717662, -0.8086757660]])  # fmt: skip


def linear(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """WCAG's contrast of two colours."""
    low, high = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05 for colour in (one, other))
    return high / low


def distance(one, other):
    """The distance of two colours in OKLab; 0.02 is just noticeable."""
    first, second = (TO_LAB @ np.cbrt(TO_CONES @ linear(colour)) for colour in (one, other))
    return float(np.linalg.norm(first - second))


def test_colours_are_told_apart_in_both_themes():
    for theme, ground in enumerate(GROUNDS):
        colours = [tone[theme] for tone in TONES]
        assert min(contrast(colour, ground) for colour in colours) >= 3
        pairs = {pair: distance(*pair) for pair in itertools.combinations(colours, 2)}
        assert min(pairs.values()) > 0.08
        # the closest also differ by their markers
        for (one, other), apart in pairs.items():
            places = (colours.index(one), colours.index(other))
            assert apart > 0.1 or len({distinct(len(TONES))[place].marker for place in places}) == 2
    assert distance("#ffffff", "#000000") > 0.99, "the distance is that of OKLab"
    assert contrast("#ffffff", "#000000") == 21


def test_methods_that_ship_have_fixed_styles_of_their_own():
    every = styles([*METHODS[1:], "own", "other"])
    assert all(every[method] == styles([method])[method] for method in KNOWN)
    assert len({style.colour for style in every.values()}) == len(every) == len(METHODS) + 1
    assert set(KNOWN) == set(METHODS) - {"original"}
    assert set(FIRST) < set(KNOWN)


def test_own_names_keep_their_style_in_the_company_of_the_report_and_never_clash():
    names = [f"mine-{number}" for number in range(60)]
    every = styles(names, among=["ream", "reap"])
    assert len(set(every.values())) == 60
    assert len({style.colour for style in styles(names[:18], ["ream", "reap"]).values()}) == 18
    for drawn in (names[:1], names[3:9], [*names[50:], "ream"]):
        alone = styles(drawn, [*names, "ream", "reap"])
        assert list(alone) == sorted(drawn, key=list(styles(drawn)).index)
        assert all(alone[name] == every[name] for name in drawn if name != "ream")
    assert styles(["mine-7"], names) == styles(["mine-7"], reversed(names))


def test_further_styles_differ_by_their_markers():
    assert len(set(distinct(240))) == 240 == len(TONES) * len(MARKERS)
