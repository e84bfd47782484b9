"""A small surrogate of a value over mixes: Scheffé's polynomial, and the effect of each source by it.

y = Σ_s b_s r_s + Σ_{s<t} b_st r_s r_t (H. Scheffé, Experiments with mixtures, Journal of the Royal Statistical Society
B 20 (2), 1958), fitted by least squares; without the products where there are too few mixes for them. There is no
constant term, because the ratios sum to 1.

The effect of a source is the derivative along Cox's direction: the source's share grows and those of all others shrink
in proportion to what they are (J. A. Cornell, Experiments with Mixtures, 2002, chapter 5.9). It is linear in b, so its
interval is Student's, from the residuals. These say how far the mixes lie from the polynomial, which is both noise and
what a polynomial cannot follow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float64

CONFIDENCE = 0.95
SPARE = 3  # degrees of freedom that a fit with products leaves at least


@dataclass(frozen=True)
class Effect:
    """What ten more percentage points of a source do at the even mix, in the unit of the value.

    Attributes:
        value: the effect.
        low: lower end of its interval; None where the fit leaves no degree of freedom.
        high: upper end.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Surrogate:
    """A fitted polynomial.

    Attributes:
        coefficients: b_s, then b_st by pairs where products are used.
        covariance: of the coefficients; None where the fit leaves no degree of freedom.
        freedom: degrees of freedom of the residuals.
        explained: fraction of the values' variance that the polynomial explains, R²; None where there is none.
    """

    coefficients: Float64[np.ndarray, " p"]
    covariance: Float64[np.ndarray, "p p"] | None
    freedom: int
    explained: float | None

    def at(self, ratios: Float64[np.ndarray, " S"]) -> float:
        """The value of a mix."""
        products = len(self.coefficients) > len(ratios)
        return float(_terms(np.asarray(ratios)[None], products)[0] @ self.coefficients)


def fitted(ratios: Float64[np.ndarray, "n S"], values: Float64[np.ndarray, " n"]) -> Surrogate:
    """The polynomial of least squares.

    Args:
        ratios: of each mix, summing to 1.
        values: of each mix.

    Raises:
        ValueError: there is no mix.
    """
    count, sources = ratios.shape
    if not count:
        raise ValueError("a surrogate needs mixes")
    products = count >= sources * (sources + 1) // 2 + SPARE
    terms = _terms(ratios, products)
    inverse = np.linalg.pinv(terms.T @ terms)
    coefficients = inverse @ terms.T @ values
    residuals = values - terms @ coefficients
    freedom = count - int(np.linalg.matrix_rank(terms))
    covariance = inverse * float(residuals @ residuals) / freedom if freedom > 0 else None
    spread = float(np.square(values - values.mean()).sum())
    explained = 1.0 - float(residuals @ residuals) / spread if spread > 0 else None
    return Surrogate(coefficients, covariance, freedom, explained)


def effects(surrogate: Surrogate, sources: Sequence[str]) -> dict[str, Effect]:
    """What ten more percentage points of each source do at the even mix, the other shares shrinking in proportion."""
    from scipy.special import stdtrit

    count = len(sources)
    products, even = len(surrogate.coefficients) > count, np.full(count, 1.0 / count)
    found = {}
    for place, name in enumerate(sources):
        direction = np.full(count, -1.0 / (count - 1))
        direction[place] = 1.0
        gradient = 0.1 * _derivative(even, direction, products)
        value = float(gradient @ surrogate.coefficients)
        if surrogate.covariance is None:
            found[name] = Effect(value, None, None)
            continue
        error = float(np.sqrt(max(0.0, gradient @ surrogate.covariance @ gradient)))
        width = float(stdtrit(surrogate.freedom, (1 + CONFIDENCE) / 2)) * error
        found[name] = Effect(value, value - width, value + width)
    return found


def _terms(ratios: Float64[np.ndarray, "n S"], products: bool) -> Float64[np.ndarray, "n p"]:
    """The polynomial's terms of each mix."""
    pairs = [ratios[:, one] * ratios[:, other] for one, other in combinations(range(ratios.shape[1]), 2)]
    return np.column_stack([ratios, *pairs]) if products else ratios


def _derivative(
    at: Float64[np.ndarray, " S"], direction: Float64[np.ndarray, " S"], products: bool
) -> Float64[np.ndarray, " p"]:
    """The derivative of the terms along a direction."""
    pairs = [direction[one] * at[other] + at[one] * direction[other] for one, other in combinations(range(len(at)), 2)]
    return np.array([*direction, *pairs]) if products else np.asarray(direction)
