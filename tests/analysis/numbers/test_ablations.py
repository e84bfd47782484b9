"""Differences of variants from the whole method."""

import pytest

from ream.analysis.figures.ablations import ablation_differences
from ream.analysis.numbers.ablations import differences
from ream.analysis.numbers.mixes import Series
from tests.analysis.figures.drawn import row


def test_variants_compare_with_the_whole_method_of_the_same_size_and_origin():
    rows = [row(gen=50.0), row(gen=40.0, experts=4), row("ream-one-shot", gen=49.0),
            row("ream-one-shot", gen=38.0, experts=4), row("ream-one-shot", gen=10.0, origin="paper"),
            row("ream-released", gen=1.0), row("ream-refit", gen=60.0), row("reap", gen=1.0)]  # fmt: skip
    assert differences(rows, "gen") == {Series("ream-one-shot", "ours"): {"1:1 (8)": -1.0, "1:1 (4)": -2.0}}
    with pytest.raises(ValueError, match="no variant of ream"):
        ablation_differences([row(), row("reap")])
    with pytest.raises(ValueError, match="several models"):
        differences([row(), row("ream-one-shot", model="n")], "gen")
