"""Mixes keep their names."""

from ream.analysis.results.mix_names import named
from ream.analysis.results.rows import Row

MIXES = {"even": {"c4": 1.0, "math": 1.0}, "same": {"c4": 2.0, "math": 2.0}, "code-only": {"code": 1.0, "c4": 0.0}}


def row(called="", **ratios):
    return Row("paper", "m", "reap", 8, ratios, called=called)


def test_rows_of_the_same_shares_have_the_name_of_params():
    names = [one.mix for one in named([row(general=0.3, math=0.3), row(code=1.0, general=0.0)], MIXES)]
    assert names == ["even", "code-only"]


def test_other_mixes_are_their_ratios_and_names_stay():
    (other, own, original) = named([row(general=0.1, math=0.9), row("mine", general=1.0, math=1.0), row()], MIXES)
    assert (other.mix, other.called) == ("0.1:0.9", "")
    assert (own.mix, own.mix_ratios) == ("mine", "1:1")
    assert original.mix == ""
