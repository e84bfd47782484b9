"""What a rank is made of, without processes: its place, what ranks exchange, what they take of each other."""

import os
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe
from ream.errors import UserError
from ream.recipe.recipe_file import recipe_from_tensors, recipe_tensors
from ream.walk import ranks
from ream.walk.ranks import Ranks
from ream.walk.share import Share


def rank(number, size=2, local_size=2):
    """A rank as the others see it, without a process."""
    made = object.__new__(Ranks)
    made.rank, made.size, made.local_rank, made.local_size, made.first = number, size, number, local_size, not number
    return made


def test_each_rank_has_a_gpu_of_its_own(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert [rank(number).placed("auto", 1) for number in range(2)] == ["cuda:0", "cuda:1"]
    assert taken == [0, 1]
    assert rank(1).placed("cpu", 1) == "cpu"
    with pytest.raises(UserError, match="3 ranks on a machine where torch sees 2 GPUs"):
        rank(0, 3, 3).placed("auto", 1)
    with pytest.raises(UserError, match="cuda:1 is one GPU, but there are 2 ranks; auto"):
        rank(0).placed("cuda:1", 1)


def test_ranks_share_the_cores_unless_told(monkeypatch):
    threads = []
    monkeypatch.setattr(ranks, "set_threads", threads.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    for local_size in (1, 3, 32):
        rank(0, 32, local_size).placed("cpu", "auto")
    assert threads == [16, 5, 1]
    rank(0).placed("cpu", 4)
    assert threads == [16, 5, 1]


@pytest.fixture
def together(monkeypatch):
    """Calls a function of a rank as each of two, in two threads; collective operations exchange by way of the test."""
    barrier, given = threading.Barrier(2, timeout=20), {}

    def exchanged(tensor):
        """The tensors that both ranks have brought, in their order."""
        given[int(threading.current_thread().name)] = tensor.clone()
        barrier.wait()
        tensors = [given[number] for number in range(2)]
        barrier.wait()
        return tensors

    def all_gather(parts, tensor):
        for part, brought in zip(parts, exchanged(tensor), strict=True):
            part.copy_(brought)

    def broadcast(tensor, src):
        tensor.copy_(exchanged(tensor)[src])

    def call(function):
        results = [None, None]

        def run(number):
            results[number] = function(rank(number))

        threads = [threading.Thread(target=run, args=[number], name=str(number)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    monkeypatch.setattr(torch.distributed, "all_gather", all_gather)
    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    return call


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gathered_rows_keep_their_bits(together, dtype):
    table = torch.randn(7, 5).to(dtype)
    table[2, 1], table[3, 3], table[4, 0] = -0.0, float("nan"), float("-inf")
    orders = [np.array([6, 0, 3]), np.array([1, 2, 4, 5])]

    def gather(one):
        order = orders[one.rank]
        return one.gather(table[torch.from_numpy(order)], order, [3, 4])

    for found in together(gather):
        assert torch.equal(found.view(torch.uint8), table.view(torch.uint8))


def test_what_the_first_has_comes_to_all_with_its_bits(together):
    sent = {
        "floats": torch.tensor([[-0.0, float("nan")], [float("-inf"), 1e-310]], dtype=torch.float64),
        "odd": torch.tensor([1, -2, 3], dtype=torch.int16),
        "none": torch.from_numpy(np.zeros((0, 0), dtype=np.int16)),
        "halves": torch.randn(3, 1).to(torch.bfloat16),
        "scalar": torch.tensor(7.0, dtype=torch.float64),
    }
    theirs = {"floats": torch.ones(1), "other": torch.ones(2)}
    for found in together(lambda one: one.broadcast("here", theirs if one.rank else sent)):
        assert found.keys() == sent.keys()
        for name, tensor in sent.items():
            assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
            assert bytes(found[name].untyped_storage()) == bytes(tensor.untyped_storage())


@pytest.mark.parametrize("merges", [True, False])
def test_the_first_alone_decides_and_all_apply_the_same(together, tmp_path, merges):
    groups = Groups(np.array([1, 3]), np.array([1, 0, -1, 1]) if merges else np.array([-1, 0, -1, 1]))
    orders = {0: np.array([2, 0, 1])} if merges else {}
    layer = LayerRecipe(groups, np.array([0.25, 1.0, 0.0, 0.75]), np.array([0.1, 3.0, 0.0, 1 / 3]), orders)
    asked = []

    def decided(one):
        def decide():
            asked.append(one.rank)
            return recipe_tensors(layer)

        return recipe_from_tensors(Share(one, np.arange(2), 0, tmp_path, slice(0, 1), 2).decided(5, decide))

    for found in together(decided):
        assert np.array_equal(found.groups.kept, groups.kept)
        assert np.array_equal(found.groups.group, groups.group)
        assert found.groups.kept.dtype == found.groups.group.dtype == np.int64
        assert found.weights.tobytes() == layer.weights.tobytes()
        assert found.saliency.tobytes() == layer.saliency.tobytes()
        assert {expert: order.tolist() for expert, order in found.permutations.items()} == {
            expert: order.tolist() for expert, order in orders.items()
        }
    assert asked == [0]


def test_a_layer_that_a_rank_has_committed_is_taken_and_no_later_one(tmp_path):
    save_file({"tokens": torch.tensor(3.0)}, tmp_path / "layer-001.safetensors")
    share = Share(rank(0), np.arange(2), 2, tmp_path, slice(0, 1), 2)
    assert float(share.known(1)["tokens"]) == 3.0
    assert share.known(2) is None
