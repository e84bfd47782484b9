from dataclasses import replace

import numpy as np
import pytest

from ream.compress.rarely_routed import check_seen, recipe_remark, remark, warning
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe
from ream.core.sums import Sums
from ream.errors import UserError
from tests.core.layers import FIELDS


def test_the_line_counts_over_all_layers_and_names_the_worst():
    routed = {0: np.full(4, 100.0), 1: np.array([99.0, 0, 100, 5000]), 3: np.array([0.0, 0, 1, 2])}
    line = remark(routed)
    assert line.startswith(
        "50.0% of the experts saw fewer than 100 calibration tokens, 25.0% none (layers 3 (100%), 1 (50%)),"
    )
    assert warning(line) == f"; warning: {line}"


def test_only_five_layers_are_named():
    line = remark({index: np.array([1.0, 1000.0]) for index in range(9)})
    assert "(layers 0 (50%), 1 (50%), 2 (50%), 3 (50%), 4 (50%) and 4 more)" in line


def test_enough_text_gives_no_line():
    assert remark({0: np.full(4, 100.0)}) == ""
    assert warning("") == ""


def test_a_recipe_of_an_earlier_version_gives_no_line():
    layer = LayerRecipe(Groups(np.array([0]), np.array([0, 0])), np.ones(2) / 2, np.ones(2))
    assert recipe_remark({0: layer}) == ""


def test_a_layer_without_tokens_is_refused():
    shapes = {"tokens": (), "output_sum": (3, 2), "gated_output_sum": (3, 2), "logit_gram": (3, 3)}
    seen = Sums(**{name: np.ones(shapes.get(name, 3)) for name in FIELDS})
    check_seen(seen, 4)
    unseen = Sums(**{name: np.zeros_like(array) for name, array in seen.arrays().items()})
    with pytest.raises(UserError, match=r"^layer 4: no calibration token reached its experts"):
        check_seen(unseen, 4)
    check_seen(replace(seen, sample_tokens=np.array([1.0, 2.0, 0.0])), 4)
    with pytest.raises(UserError, match=r"^layer 4: only 3 of the tokens sampled .* raise statistics.dense_tokens"):
        check_seen(replace(seen, sample_tokens=np.array([0.0, 3.0, 0.0])), 4)
