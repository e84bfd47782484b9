"""Shards of another size than the original's: the same tensors in the same order, and transformers loads them."""

import json

import pytest
import torch

from ream.models.storage.checkpoint import INDEX, SINGLE, Checkpoint
from ream.models.storage.shard_writing import OutputTensor
from ream.recipe.output import _shards, write_checkpoint
from ream.recipe.shards import refilled
from ream.recipe.verify import verify
from tests import tiny
from tests.compress.walks import loaded, logits, opened, random_recipe
from tests.subsets import some_slow

KEPT = 3


def tensors(*sizes):
    return [OutputTensor(f"t{number}", "U8", (size,), bytes) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ((3, 3, 3), 9, [3]),
        ((3, 3, 3), 8, [2, 1]),
        ((3, 3, 3), 6, [2, 1]),
        ((3, 3, 3), 1, [1, 1, 1]),
        ((1, 9, 1, 1), 3, [1, 1, 2]),
        ((9,), 3, [1]),
        ((2, 2, 0, 2), 4, [3, 1]),
    ],
)
def test_shards_are_filled_in_order(sizes, limit, expected):
    given = tensors(*sizes)
    shards = refilled(given, limit)
    assert [len(shard) for shard in shards.values()] == expected
    assert [tensor for shard in shards.values() for tensor in shard] == given
    count = len(expected)
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    assert list(shards) == (names if count > 1 else [SINGLE])


@pytest.mark.parametrize(("second", "shards"), [(1_000_000_000, 1), (1_000_000_001, 2)])
def test_a_gigabyte_is_a_billion_bytes(second, shards, checkpoint):
    given = {"model.safetensors": tensors(1_000_000_000, second)}
    assert len(_shards(Checkpoint(checkpoint), given, 2.0).tensors) == shards


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """An original in one file, without an index."""
    folder = tiny.build(tmp_path_factory.mktemp("single") / "model", shard="1GB")
    assert not (folder / INDEX).exists()
    return folder


def written(folder, out, shard_gb):
    checkpoint, architecture = opened(folder)
    write_checkpoint(checkpoint, architecture, random_recipe(architecture, KEPT), out, shard_gb=shard_gb)
    return Checkpoint(out)


@pytest.mark.parametrize("which", some_slow(["checkpoint", "single"], keep=["single"]))
@pytest.mark.parametrize("kilobytes", [5, 20, 1000])
def test_transformers_loads_the_same_model(which, kilobytes, request, tmp_path):
    folder = request.getfixturevalue(which)
    usual = written(folder, tmp_path / "usual", None)
    other = written(folder, tmp_path / "other", kilobytes / 1e6)
    order = list(usual.tensors)
    assert list(other.tensors) == order
    assert all(other.raw(name) == usual.raw(name) for name in order)
    inside = [[info.bytes for info in other.tensors.values() if info.shard == shard] for shard in sorted(other.shards)]
    sizes = [sum(shard) for shard in inside]
    assert all(sum(shard) <= kilobytes * 1000 or len(shard) == 1 for shard in inside)
    if kilobytes == 1000:
        assert list(other.shards) == [SINGLE]
        assert not (tmp_path / "other" / INDEX).exists()
    else:
        assert len(sizes) > 2
        index = json.loads((tmp_path / "other" / INDEX).read_text())
        assert index["metadata"]["total_size"] == sum(sizes)
        assert index["weight_map"] == {name: info.shard for name, info in sorted(other.tensors.items())}
    assert torch.equal(logits(loaded(tmp_path / "other")), logits(loaded(tmp_path / "usual")))
    assert verify(tmp_path / "other")["experts"] == verify(tmp_path / "usual")["experts"]


def test_a_tensor_larger_than_a_shard_has_one_of_its_own(checkpoint, tmp_path):
    other = written(checkpoint, tmp_path / "out", 1e-9)
    assert len(other.shards) == len(other.tensors)
    verify(tmp_path / "out")
