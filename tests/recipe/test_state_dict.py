"""The tensors that are evaluated are those that are written."""

import pytest
import torch
from safetensors.torch import load_file

from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.shard_writing import tensor_bytes
from ream.recipe.output import write_checkpoint
from ream.recipe.state_dict import text_state_dict
from tests.compress.walks import opened, random_recipe
from tests.models.families import build
from tests.quantized import fp8_checkpoint
from tests.subsets import some_slow

KEPT = 3


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("which", ["checkpoint", "brain"])
def test_state_dict_is_what_is_written(which, merge, request, tmp_path):
    original, architecture = opened(request.getfixturevalue(which))
    recipe = random_recipe(architecture, KEPT, merge=merge)
    write_checkpoint(original, architecture, recipe, tmp_path / "out")
    tensors, after = text_state_dict(original, architecture, recipe), Checkpoint(tmp_path / "out")
    assert set(tensors) == set(after.tensors)
    assert all(tensor_bytes(tensor) == bytes(after.raw(name)) for name, tensor in tensors.items())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16 if which == "brain" else torch.float32}


def test_quantised_tensors_are_decoded_from_what_is_written(tmp_path):
    fp8_checkpoint(build("qwen3_moe", tmp_path / "plain"), tmp_path / "model")
    original, architecture = opened(tmp_path / "model")
    recipe = random_recipe(architecture, KEPT, width=architecture.width)
    write_checkpoint(original, architecture, recipe, tmp_path / "out")
    tensors, after = text_state_dict(original, architecture, recipe), Checkpoint(tmp_path / "out")
    assert set(tensors) == set(after.logical)
    assert any(map(after.quantised, tensors))
    assert all(torch.equal(tensor, after.read(name)) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("family", "renamed", "gone"),
    [
        ("deepseek_v3", {"model.": "model."}, "model.layers.{}."),
        ("qwen3_5_moe", {"model.language_model.": "model."}, "mtp."),
    ],
)
@pytest.mark.parametrize("compressed", some_slow([True, False], keep=[True]))
def test_only_the_text_models_own_tensors_by_its_names(family, renamed, gone, compressed, tmp_path):
    original, architecture = opened(build(family, tmp_path / "model"))
    recipe = random_recipe(architecture, 4, groups=architecture.router_groups, width=architecture.width)
    tensors = text_state_dict(original, architecture, recipe if compressed else None)
    (prefix, new), gone = next(iter(renamed.items())), gone.format(architecture.layers)
    names = {name for name in original.logical if name.startswith((prefix, "lm_head.")) and not name.startswith(gone)}
    if compressed:
        names = {name for name in names if (role := architecture.roles.get(name)) is None or (role.expert or 0) < 4}
    assert names < set(original.logical)
    assert set(tensors) == {new + name.removeprefix(prefix) if name.startswith(prefix) else name for name in names}


def test_state_dict_without_a_recipe_is_the_original(checkpoint):
    tensors = text_state_dict(*opened(checkpoint), None)
    expected = {}
    for shard in checkpoint.glob("*.safetensors"):
        expected |= load_file(shard)
    assert set(tensors) == set(expected)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
