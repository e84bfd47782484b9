"""The parameters of a compressed model: by hand, and those of what is written, in every layout."""

import pytest

from ream.models.family.architecture import without_multi_token
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.output import write_checkpoint
from ream.recipe.parameters import output_parameters
from tests import quantized
from tests.compress.walks import opened, random_recipe
from tests.models.families import build
from tests.subsets import some_slow
from tests.tiny import EXPERTS, HIDDEN, WIDTH

KEPT = 4


def test_by_hand(checkpoint):
    """3 layers, each of which loses 4 experts of 3 · H · D and as many of the router's rows."""
    original, architecture = opened(checkpoint)
    lost = 3 * (EXPERTS - KEPT) * (3 * HIDDEN * WIDTH + HIDDEN)
    assert output_parameters(original, architecture, random_recipe(architecture, KEPT)) == original.parameters - lost


@pytest.mark.parametrize("drop", [False, True], ids=["whole", "without multi-token layers"])
@pytest.mark.parametrize(
    "family", some_slow(["qwen3_5_moe", "deepseek_v3", "gpt_oss"], keep=["deepseek_v3", "gpt_oss"])
)
def test_those_of_what_is_written(family, drop, tmp_path):
    original, architecture = opened(build(family, tmp_path / "model"))
    architecture = without_multi_token(architecture) if drop else architecture
    recipe = random_recipe(architecture, KEPT, groups=architecture.router_groups, width=architecture.width)
    announced = output_parameters(original, architecture, recipe)
    assert write_checkpoint(original, architecture, recipe, tmp_path / "out") == announced
    assert announced == Checkpoint(tmp_path / "out").parameters
    original.logical = dict(reversed(original.logical.items()))
    assert output_parameters(original, architecture, recipe) == announced


def test_scales_of_quantised_tensors_do_not_count(tmp_path):
    plain = opened(build("qwen3_moe", tmp_path / "plain"))
    quantized.fp8_checkpoint(tmp_path / "plain", tmp_path / "fp8")
    recipe = random_recipe(plain[1], KEPT, width=plain[1].width)
    assert output_parameters(*opened(tmp_path / "fp8"), recipe) == output_parameters(*plain, recipe)
