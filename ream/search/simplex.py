"""Mixes as points of a cube: the coordinates in which a sampler without constraints searches the simplex of ratios.

Sticks are broken from a stick of length 1: source i of S gets the part 1 − (1 − u_i)^(1 / (S − 1 − i)) of what is left,
the last source the rest. Uniform u in [0, 1]^(S − 1) give mixes that are uniform on the simplex (Dirichlet(1, …, 1)),
and the faces of the simplex, where a source has no share, are faces of the cube (Devroye, Non-Uniform Random Variate
Generation, 1986, chapter XI.4).
"""

from collections.abc import Sequence

from ream.calibration.mixing import largest_remainder

PARTS = 1000  # a mix is searched to a thousandth, so that its ratios can be written down


def ratios_of(units: Sequence[float]) -> tuple[float, ...]:
    """The mix at a point of the cube, [S] ratios that sum to 1 up to rounding.

    Args:
        units: [S − 1] numbers in [0, 1].
    """
    left, ratios = 1.0, []
    for place, unit in enumerate(units):
        ratios.append(left * (1.0 - (1.0 - unit) ** (1.0 / (len(units) - place))))
        left -= ratios[-1]
    return (*ratios, max(left, 0.0))


def units_of(ratios: Sequence[float]) -> tuple[float, ...]:
    """The point of the cube of a mix, the inverse of `ratios_of`; 0 for every source once nothing is left.

    Args:
        ratios: [S] numbers that are not negative, with a positive sum, which need not be 1.
    """
    left, units = float(sum(ratios)), []
    for place, ratio in enumerate(ratios[:-1]):
        part = min(1.0, ratio / left) if left > 0 else 0.0
        units.append(1.0 - (1.0 - part) ** (len(ratios) - 1 - place))
        left = max(0.0, left - ratio)
    return tuple(units)


def rounded(ratios: Sequence[float]) -> tuple[float, ...]:
    """A mix in thousandths that sum to 1, by largest remainders; it need not be normalised."""
    shares = largest_remainder({str(place): ratio for place, ratio in enumerate(ratios)}, PARTS)
    return tuple(share / PARTS for share in shares.values())
