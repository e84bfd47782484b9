"""What is to be written, before any of it is made: names, order, shapes, dtypes, and the shards that are read."""

import math

import pytest

from ream.core.recipe import Recipe
from ream.models.stored_dtypes import STORED
from ream.recipe.output_tensors import output_tensors
from tests import quantized
from tests.compress.walks import opened, random_recipe
from tests.models.families import build

KEPT = 3


def test_names_shapes_and_shards_by_hand(checkpoint):
    """Tensors stay in the original's shards and order; a kept expert's have the new index's name."""
    original, architecture = opened(checkpoint)
    recipe = random_recipe(architecture, KEPT)
    given = output_tensors(original, architecture, recipe)
    expected, shapes = {}, {}
    for name, info in original.tensors.items():
        role = architecture.roles.get(name)
        shape = info.shape
        if role is not None and role.expert is not None:
            kept = recipe.layers[role.layer].groups.kept.tolist()
            if role.expert not in kept:
                continue
            name = name.replace(f".experts.{role.expert}.", f".experts.{kept.index(role.expert)}.")
        elif role is not None:
            shape = (KEPT, *shape[1:])
        expected.setdefault(info.shard, []).append(name)
        shapes[name] = shape
    assert {shard: [tensor.name for tensor in tensors] for shard, tensors in given.items()} == expected
    assert list(given) == list(expected)
    made = [tensor for tensors in given.values() for tensor in tensors]
    assert {tensor.name: tensor.shape for tensor in made} == shapes
    assert {tensor.dtype for tensor in made} == {"F32"}


def test_what_is_read_is_the_tensors_own_shard_or_those_of_its_layers_experts(checkpoint):
    original, architecture = opened(checkpoint)
    layers = {}
    for name, role in architecture.roles.items():
        layers.setdefault(role.layer, set()).add(original.tensors[name].shard)
    assert any(len(shards) > 1 for shards in layers.values())
    for shard, tensors in output_tensors(original, architecture, random_recipe(architecture, KEPT)).items():
        for tensor in tensors:
            layer = int(tensor.name.split(".")[2]) if tensor.name.startswith("model.layers.") else None
            mine = layers[layer] if ".experts." in tensor.name or ".mlp.gate." in tensor.name else {shard}
            assert tensor.reads == mine, tensor.name


def test_a_routers_tensor_has_an_entry_a_kept_expert_on_its_own_axis(tmp_path):
    """Ernie's correction bias is [1, N]."""
    original, architecture = opened(build("ernie4_5_moe", tmp_path / "model"))
    recipe = random_recipe(architecture, KEPT, width=architecture.width)
    tensors = [tensor for shard in output_tensors(original, architecture, recipe).values() for tensor in shard]
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    index = architecture.moe_layers[0]
    by_axis = {kind.axis: shapes[architecture.tensor_name(index, kind)] for kind in architecture.family.router}
    assert by_axis == {0: (KEPT, architecture.hidden), 1: (1, KEPT)}
    assert all(len(b"".join(tensor.make())) == tensor.bytes for tensor in tensors)


@pytest.mark.parametrize("family", ["deepseek_v3", "qwen3_next"])
def test_only_multi_token_layers_are_left_out(family, tmp_path):
    original, whole = opened(build(family, tmp_path / "model"))
    original.tensors = dict(reversed(original.tensors.items()))  # these first: others come behind them
    recipe = random_recipe(whole, 4, groups=whole.router_groups, width=whole.width)
    shorter = Recipe({layer: made for layer, made in recipe.layers.items() if layer < whole.layers}, {})
    names = [
        {tensor.name for shard in output_tensors(original, whole, each).values() for tensor in shard}
        for each in (recipe, shorter)
    ]
    assert names[0] > names[1]
    assert names[0] - names[1] == names[0] & {
        name for name in names[0] if name.startswith(("mtp.", f"model.layers.{whole.layers}."))
    }


@pytest.mark.parametrize("unquantised", [False, True], ids=["format kept", "bfloat16"])
@pytest.mark.parametrize(
    ("family", "make"),
    [("qwen3_moe", quantized.fp8_checkpoint), ("gpt_oss", quantized.mxfp4_checkpoint)],
    ids=["fp8", "mxfp4"],
)
def test_quantised_tensors_are_several_or_one_in_bfloat16(family, make, unquantised, tmp_path):
    values = {"hidden_size": 32, "intermediate_size": 32, "head_dim": 16} if family == "gpt_oss" else None
    make(build(family, tmp_path / "plain", values=values), tmp_path / "model")
    original, architecture = opened(tmp_path / "model")
    recipe = random_recipe(architecture, KEPT, width=architecture.width)
    made = {
        tensor.name: tensor
        for tensors in output_tensors(original, architecture, recipe, unquantised).values()
        for tensor in tensors
    }
    for name, role in architecture.roles.items():
        if role.expert is None:
            names = [name]
        else:
            names = [architecture.tensor_name(role.layer, role.kind, position) for position in range(KEPT)]
        for new in names:
            if unquantised and original.quantised(name):
                shape = original.shape(name)
                assert made[new].dtype == "BF16"
                assert made[new].shape == ((KEPT, *shape[1:]) if role.expert is None else shape)
            else:
                assert {made[new + suffix].dtype for suffix in original.logical[name]} == {
                    info.dtype for info in original.headers_of(name).values()
                }
    if unquantised:  # in the place of the first of its parts
        firsts = {next(iter(parts.values())): name for name, parts in original.logical.items()}
        order = [firsts[name] for name in original.tensors if name in firsts and firsts[name] not in architecture.roles]
        assert [name for name in made if name not in architecture.roles and name in original.logical] == order
    for tensor in made.values():  # the bytes are as many as are announced
        assert len(b"".join(tensor.make())) == math.prod(tensor.shape) * STORED[tensor.dtype].bytes
