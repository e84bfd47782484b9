"""The model in memory for evaluation: what of the original's own code may run."""

import pytest
import torch

from ream.models.family import language_model
from ream.recipe.load import load_model
from tests.compress.walks import opened, random_recipe


@pytest.mark.parametrize(("given", "trusted"), [({}, False), ({"trust_remote_code": True}, True)])
def test_the_models_own_code_runs_only_where_it_is_trusted(given, trusted, checkpoint, monkeypatch):
    asked, real = [], language_model.model_config

    def model_config(checkpoint, family, trust_remote_code):
        asked.append(trust_remote_code)
        return real(checkpoint, family, False)

    monkeypatch.setattr(language_model, "model_config", model_config)
    original, architecture = opened(checkpoint)
    model = load_model(
        original, architecture, random_recipe(architecture, 3), torch.device("cpu"), torch.bfloat16, **given
    )
    assert asked == [trusted]
    assert (model.config.num_experts, model.dtype, model.training) == (3, torch.bfloat16, False)
