"""What a checkpoint is, by its config and tensor names; anything else is refused with the name of what is wrong."""

import json

import pytest
import torch

from ream.errors import UserError
from ream.models.family.architecture import architecture_of
from ream.models.storage.checkpoint import INDEX, Checkpoint
from tests.models.storage.test_checkpoint import FIRST, refused, rewrite, shard_of
from tests.tiny import EXPERTS, HIDDEN, TOP_K, WIDTH, damaged, rewrite_config


@pytest.mark.parametrize(
    ("which", "moe_layers"), [("checkpoint", (0, 1, 2)), ("mixed_depth", (0, 2)), ("brain", (0, 1, 2))]
)
def test_numbers_and_roles(which, moe_layers, request):
    read = architecture_of(Checkpoint(request.getfixturevalue(which)))
    assert (read.layers, read.moe_layers) == (3, moe_layers)
    assert (read.experts, read.top_k, read.hidden, read.width) == (EXPERTS, TOP_K, HIDDEN, WIDTH)
    assert len(read.roles) == len(moe_layers) * (3 * EXPERTS + 1)
    role = read.roles[FIRST]
    assert (role.layer, role.expert, role.kind.part) == (0, 3, "up")
    assert read.roles["model.layers.2.mlp.gate.weight"].expert is None
    assert read.tensor_name(0, role.kind, 3) == FIRST


def changed(checkpoint, tmp_path, **values):
    folder = damaged(checkpoint, tmp_path / "x")
    rewrite_config(folder, lambda config: {key: value for key, value in (config | values).items() if value is not None})
    return folder


def test_no_mixture_of_experts(checkpoint, tmp_path):
    experts = dict.fromkeys(["num_experts", "num_experts_per_tok", "moe_intermediate_size"])
    folder = changed(checkpoint, tmp_path, model_type="qwen3", **experts)
    refused(lambda: architecture_of(Checkpoint(folder)), "'qwen3'", "not a Mixture-of-Experts", "qwen3_moe")


def test_unknown_family(checkpoint, tmp_path):
    folder = changed(checkpoint, tmp_path, model_type="brand_new_moe")
    refused(lambda: architecture_of(Checkpoint(folder)), "'brand_new_moe'", "qwen3_moe", "families.py")


def test_config_without_experts(checkpoint, tmp_path):
    folder = changed(checkpoint, tmp_path, num_experts=None)
    refused(lambda: architecture_of(Checkpoint(folder)), "num_experts", "not a Mixture-of-Experts")


@pytest.mark.parametrize("key", ["num_experts_per_tok", "moe_intermediate_size", "hidden_size", "num_hidden_layers"])
def test_config_without_a_number(checkpoint, tmp_path, key):
    folder = changed(checkpoint, tmp_path, **{key: None})
    refused(lambda: architecture_of(Checkpoint(folder)), "config.json", key)


@pytest.mark.parametrize("experts", [EXPERTS - 2, EXPERTS + 2])
def test_config_with_another_number_of_experts(checkpoint, tmp_path, experts):
    folder = changed(checkpoint, tmp_path, num_experts=experts)
    message = refused(lambda: architecture_of(Checkpoint(folder)))
    assert ("missing" in message) == (experts > EXPERTS)
    assert f"experts.{EXPERTS}." in message if experts > EXPERTS else f"says {experts} experts" in message


def test_missing_expert_tensor(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    path = shard_of(folder, FIRST)
    renamed = FIRST.replace("up_proj", "xx_proj").encode()
    path.write_bytes(path.read_bytes().replace(FIRST.encode(), renamed))
    (folder / INDEX).write_text((folder / INDEX).read_text().replace(FIRST, renamed.decode()))
    refused(lambda: architecture_of(Checkpoint(folder)), FIRST, "1 tensors are missing")


def test_wrong_shape(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    rewrite(folder, FIRST, lambda tensor: tensor.T.contiguous())
    refused(lambda: architecture_of(Checkpoint(folder)), FIRST, f"[{HIDDEN}, {WIDTH}]", f"[{WIDTH}, {HIDDEN}]")


def test_config_that_is_not_json(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    (folder / "config.json").write_text("{")
    refused(lambda: Checkpoint(folder), "config.json", "not valid JSON")


def test_index_keeps_its_weights(checkpoint):
    """The fixture has what the other tests need: several shards of several tensors, in float32."""
    weight_map = json.loads((checkpoint / INDEX).read_text())["weight_map"]
    assert len(set(weight_map.values())) > 2
    assert Checkpoint(checkpoint).read(FIRST).dtype == torch.float32
    with pytest.raises(UserError):
        Checkpoint(checkpoint).read("x")
