"""Drawing a mix of sources: round(r_s · n) sequences of each, n in total (docs/method.md, "Mixing")."""

from collections.abc import Mapping
from fractions import Fraction

from ream.errors import UserError, unknown


def largest_remainder(ratios: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole shares of ``total`` in the ratios' proportion, adding up to it: Hamilton's method.

    Each source gets the whole part of its quota r_s / sum(r) · total, and those of the largest fractional parts one
    more; ties go to the earlier key. Quotas are exact fractions of the decimals written, so that ties are ties. A zero
    ratio gets nothing.

    Raises:
        ValueError: no ratio is positive, one is negative, or ``total`` is.
    """
    exact = {source: Fraction(str(ratio)) for source, ratio in ratios.items()}
    whole = sum(exact.values())
    if whole <= 0 or min(exact.values()) < 0 or total < 0:
        raise ValueError(f"ratios {dict(ratios)} of {total}: nothing may be negative, and one ratio must be positive")
    quotas = {source: ratio / whole * total for source, ratio in exact.items()}
    shares = {source: int(quota) for source, quota in quotas.items()}
    left = total - sum(shares.values())
    for source in sorted(quotas, key=lambda source: shares[source] - quotas[source])[:left]:  # stable
        shares[source] += 1
    return shares


def mix_sequences(
    corpora: Mapping[str, list[list[int]]], ratios: Mapping[str, float], total: int
) -> list[tuple[str, list[int]]]:
    """(source, token ids) of the first round(r_s · total) sequences of each source, in the order of the ratios' keys.

    Sources of zero ratio may be missing from ``corpora``.

    Raises:
        UserError: a source is missing or has fewer sequences than its share; says how many it has and needs.
    """
    rows = []
    for source, share in largest_remainder(ratios, total).items():
        if share and source not in corpora:
            raise unknown("source", source, corpora, "the calibration data")
        has = len(corpora.get(source, []))
        if has < share:
            raise UserError(
                f"source '{source}' has {has} sequences and the mix needs {share} of its {total}; "
                "draw more of it or lower the mix's sequences"
            )
        rows += [(source, ids) for ids in corpora.get(source, [])[:share]]
    return rows
