"""A model that is spread over devices scores as one in one place; here the host's memory and files stand for GPUs."""

import pytest
import torch

from ream.errors import UserError
from ream.evaluation.backends.hf import ready
from ream.evaluation.loss import window_loss
from ream.evaluation.shared_context import SharedContextLM
from ream.recipe.load import Spread, load_model
from tests.compress.walks import opened, random_recipe
from tests.evaluation.test_layers import bench_of
from tests.evaluation.test_shared_context import requests, values

CPU = torch.device("cpu")


@pytest.mark.parametrize("share", [0.7, None])
def test_a_spread_model_answers_as_one_in_memory(checkpoint, tokenizer, rng, tmp_path, share):
    read, architecture = opened(checkpoint)
    recipe = random_recipe(architecture, 4)
    whole = load_model(read, architecture, recipe, CPU, torch.float32)
    size = sum(parameter.nbytes for parameter in whole.parameters())
    most = None if share is None else {"cpu": int(share * size)}
    spread = load_model(read, architecture, recipe, CPU, torch.float32, spread=Spread(tmp_path / "files", most))
    elsewhere = [name for name, parameter in spread.named_parameters() if parameter.is_meta]
    assert bool(elsewhere) == (share is not None)
    windows, asked = rng.integers(30, size=(3, 12)).astype("int32"), requests(rng)
    assert window_loss(spread, windows, 24) == window_loss(whole, windows, 24)
    (expected, greedy), (found, found_greedy) = (
        values(SharedContextLM(each, tokenizer, 8, None).loglikelihood(asked, disable_tqdm=True))
        for each in (whole, spread)
    )
    assert found == expected
    assert found_greedy == greedy


def test_the_setting_reaches_the_model_and_no_device_may_be_named(checkpoint, choice_items, tmp_path):
    bench, _ = bench_of(checkpoint, tmp_path / "plain", choice_items[0], "hf")
    expected = bench.score(None)
    evaluation = bench.params.evaluation.model_copy(update={"device_map": "auto"})
    bench.params = bench.params.model_copy(update={"evaluation": evaluation})
    del bench._given
    with pytest.raises(UserError, match=r"spreads the model over all GPUs, but compute\.device is cpu; set it to auto"):
        bench.score(None)
    compute = bench.params.compute.model_copy(update={"device": "auto"})
    bench.params = bench.params.model_copy(update={"compute": compute})
    del bench._given
    ready(bench._given, [])
    if not torch.cuda.is_available():
        assert bench.score(None) == expected
