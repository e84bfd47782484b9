"""Names of mixes: those of params.yaml for all rows of the same shares, whoever measured them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ream.analysis.results.rows import ROLES, Row

Mixes = Mapping[str, Mapping[str, float]]


def named(rows: Iterable[Row], mixes: Mixes) -> list[Row]:
    """The rows, those without a name for their mix with the name of the first mix of the same shares.

    Args:
        rows: ours, imported and published ones.
        mixes: name to the ratios of its sources, as in params.yaml.
    """
    names: dict[object, str] = {}
    for name, ratios in mixes.items():
        names.setdefault(_key(ratios), name)
    return [replace(row, called=row.called or names.get(row.mix_key, "")) if row.ratios else row for row in rows]


def _key(ratios: Mapping[str, float]) -> object:
    """`Row.mix_key` of ratios by the names of params.yaml."""
    return Row("", "", "", 1, {ROLES.get(source, source): ratio for source, ratio in ratios.items()}).mix_key
