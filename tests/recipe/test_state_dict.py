"""The tensors that are evaluated are those that are written."""

import pytest
import torch
from safetensors.torch import load_file

from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.shard_writing import tensor_bytes
from ream.recipe.output import write_checkpoint
from ream.recipe.state_dict import text_state_dict
from tests.compress.walks import opened, random_recipe

KEPT = 3


@pytest.mark.parametrize("merge", [True, False])
def test_state_dict_is_what_is_written(checkpoint, tmp_path, merge):
    original, architecture = opened(checkpoint)
    recipe = random_recipe(architecture, KEPT, merge=merge)
    write_checkpoint(original, architecture, recipe, tmp_path / "out")
    tensors, after = text_state_dict(original, architecture, recipe), Checkpoint(tmp_path / "out")
    assert set(tensors) == set(after.tensors)
    assert all(tensor_bytes(tensor) == bytes(after.raw(name)) for name, tensor in tensors.items())


def test_state_dict_without_a_recipe_is_the_original(checkpoint):
    tensors = text_state_dict(*opened(checkpoint), None)
    expected = {}
    for shard in checkpoint.glob("*.safetensors"):
        expected |= load_file(shard)
    assert set(tensors) == set(expected)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
