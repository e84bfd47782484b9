"""Layers that are asked to keep all experts."""

import pytest

from ream.errors import UserError
from ream.models.family.ignored import check_ignored
from tests.compress.walks import opened
from tests.models.families import build


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """GLM-4.5: a dense layer, two with experts and a multi-token layer."""
    folder = tmp_path_factory.mktemp("ignored") / "model"
    build("glm4_moe", folder)
    return opened(folder)[1]


@pytest.mark.parametrize("pattern", ["0", "model.layers.0", "model.layers.0.", r"re:layers\.0\.", "model.*.0"])
def test_a_layer_without_experts_may_be_named(architecture, pattern):
    check_ignored(architecture, [pattern])


@pytest.mark.parametrize(
    ("pattern", "layer"),
    [("1", 1), ("model.layers.*", 1), (r"re:layers\.[23]$", 2), ("model.layers.2", 2), ("3", 3)],
)
def test_a_layer_with_experts_is_refused_with_the_reason(architecture, pattern, layer):
    with pytest.raises(UserError, match=f"layer {layer} has experts, .* one number of experts .*n_routed_experts"):
        check_ignored(architecture, ["0", pattern])


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("4", "layers are 0 to 3"), ("-1", "no layer is named so"), ("lm_head", "no layer"), ("re:(", "--ignore re:\\(")],
)
def test_a_pattern_without_a_layer_is_refused(architecture, pattern, message):
    with pytest.raises(UserError, match=message):
        check_ignored(architecture, [pattern])
