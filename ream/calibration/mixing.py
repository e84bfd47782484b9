"""A mix of sources: round(r_s · n) sequences of source s, n in total (docs/method.md, "Mixing")."""

from collections.abc import Mapping
from fractions import Fraction

from ream.errors import UserError, unknown

TOO_FEW = "too few"  # the fact of a mixture without rows that says which source has too few sequences


def largest_remainder(ratios: Mapping[str, float], total: int) -> dict[str, int]:
    """Integer shares of ``total`` in proportion to the ratios, by Hamilton's method; they add up to ``total``.

    A source gets the integer part of its quota r_s / sum(r) · total. The sources with the largest fractional parts get
    one more until ``total`` is reached; ties go to the earlier key. Quotas are exact fractions of the ratios as written
    in decimal, so rounding neither makes nor breaks a tie. A ratio of zero gets nothing.

    Raises:
        ValueError: no ratio is positive, or a ratio or ``total`` is negative.
    """
    exact = {source: Fraction(str(ratio)) for source, ratio in ratios.items()}
    whole = sum(exact.values())
    if whole <= 0 or min(exact.values()) < 0 or total < 0:
        raise ValueError(f"ratios {dict(ratios)} of {total}: no number may be negative, and one ratio must be positive")
    quotas = {source: ratio / whole * total for source, ratio in exact.items()}
    shares = {source: int(quota) for source, quota in quotas.items()}
    left = total - sum(shares.values())
    for source in sorted(quotas, key=lambda source: shares[source] - quotas[source])[:left]:  # sorted is stable
        shares[source] += 1
    return shares


def mix_sequences(
    corpora: Mapping[str, list[list[int]]], ratios: Mapping[str, float], total: int
) -> list[tuple[str, list[int]]]:
    """Pairs (source, token ids) of the first round(r_s · total) sequences of each source, in the order of the ratios.

    Args:
        corpora: sequences of each source; a source whose ratio is zero may be missing.
        ratios: r_s of each source.
        total: number of sequences of the mix.

    Raises:
        UserError: a source is missing or has fewer sequences than its share; the message gives both numbers.
    """
    rows = []
    for source, share in largest_remainder(ratios, total).items():
        if share and source not in corpora:
            raise unknown("source", source, corpora, "the calibration data")
        has = len(corpora.get(source, []))
        if has < share:
            raise UserError(
                f"source '{source}' has {has} sequences, but the mix of {total} needs {share} from it; "
                "draw more from it or lower the mix's sequences"
            )
        rows += [(source, ids) for ids in corpora.get(source, [])[:share]]
    return rows
