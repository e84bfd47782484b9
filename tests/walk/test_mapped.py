"""Hidden states in mapped files: the same results, the same safety, and no memory."""

import errno
import math
import os

import pytest
import torch

from ream.compress.one_shot import collect
from ream.recipe.recipe_file import save_recipe
from ream.walk.mapped import MappedTensor
from ream.walk.state import WalkState
from tests.compress.test_sequential import walked
from tests.compress.walks import Quiet, decoder_of, pieces
from tests.models.storage.test_checkpoint import refused
from tests.subsets import some_slow
from tests.tiny import files

SHAPE = (2, 3, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_written_is_in_the_file_and_stays_when_memory_is_given_back(tmp_path, dtype):
    path = tmp_path / "x.map"
    values = torch.linspace(-2, 2, math.prod(SHAPE)).reshape(SHAPE).to(dtype)
    mapped = MappedTensor(path, SHAPE, dtype)
    mapped.tensor.copy_(values)
    mapped.release()
    assert torch.equal(mapped.tensor, values)
    mapped.flush()
    assert path.read_bytes() == values.view(torch.uint8).numpy().tobytes()
    assert torch.equal(MappedTensor(path, SHAPE, dtype).tensor, values)
    assert MappedTensor(path, (5, 4), dtype).tensor.shape == (5, 4), "another size: made anew"


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_parts_leave_nothing_in_memory(tmp_path):
    rows, row = 64, (1 << 20) // 4
    with WalkState(tmp_path / "s", "x", False, memory=0) as state:
        hidden = state.entering((rows, 1, row), torch.float32)
        before, most = resident(), 0
        for part in state.parts(slice(start, start + 4) for start in range(0, rows, 4)):
            hidden[part] = float(part.start)
            most = max(most, resident() - before)
        assert most < 16 << 20, "of 64 MiB"
        assert resident() - before < 4 << 20
        assert [float(hidden[start].mean()) for start in (0, 4, 60)] == [0.0, 4.0, 60.0]


@pytest.mark.parametrize("which", ["checkpoint", "mixed_depth"])
def test_statistics_are_the_same_bytes(which, request, tmp_path):
    folder = request.getfixturevalue(which)
    for name, memory in (("memory", math.inf), ("mapped", 0)):
        with pieces(tmp_path / name, memory=memory) as (data, probes, state):
            collect(decoder_of(folder), data, probes, state, Quiet())
    assert files(tmp_path / "mapped" / "state") == files(tmp_path / "memory" / "state")
    assert not list((tmp_path / "mapped" / "state").glob("*.map"))


@pytest.mark.parametrize("which", ["checkpoint", "mixed_depth"])
def test_recipes_are_the_same_bytes(which, request, tmp_path):
    for name, memory in (("memory", math.inf), ("mapped", 0)):
        save_recipe(
            tmp_path / f"{name}.r", walked(request.getfixturevalue(which), "ream", tmp_path / name, memory=memory)
        )
    assert (tmp_path / "mapped.r").read_bytes() == (tmp_path / "memory.r").read_bytes()
    assert not list((tmp_path / "mapped" / "state").glob("*.map"))


def test_a_block_of_embeddings_at_a_time_is_all_of_them(checkpoint, tmp_path, monkeypatch):
    import ream.walk.walk as walk

    monkeypatch.setattr(walk, "EMBEDDED_BYTES", 1)
    with pieces(tmp_path, memory=0) as (data, _, state):
        decoder = decoder_of(checkpoint)
        assert torch.equal(walk._embedded(decoder, data, state), decoder.embed(data.ids))
        assert (tmp_path / "state" / "hidden-0.map").exists()


@pytest.mark.parametrize("stop", some_slow([0, 1, 2], keep=[1]))
@pytest.mark.parametrize(("first", "then"), [(0, 0), (0, math.inf), (math.inf, 0)])
def test_an_interrupted_walk_goes_on_in_memory_or_in_files(mixed_depth, tmp_path, stop, first, then):
    class Broken(Quiet):
        def update(self, n):
            super().update(n)
            if self.done > stop * 4 + 2:
                raise KeyboardInterrupt

    with pieces(tmp_path / "cut", memory=first) as (data, probes, state), pytest.raises(KeyboardInterrupt):
        collect(decoder_of(mixed_depth), data, probes, state, Broken())
    for name, memory in (("cut", then), ("whole", math.inf)):
        with pieces(tmp_path / name, memory=memory) as (data, probes, state):
            assert state.next_layer == (stop if name == "cut" else 0)
            collect(decoder_of(mixed_depth), data, probes, state, Quiet())
    assert files(tmp_path / "cut" / "state") == files(tmp_path / "whole" / "state")


def test_a_half_written_layer_leaves_the_committed_one_as_it_is(tmp_path):
    first = torch.arange(24.0).reshape(SHAPE)
    with WalkState(tmp_path / "s", "x", False, memory=0) as state:
        hidden = state.entering(SHAPE, torch.float32)
        leaving = state.leaving(hidden)
        leaving.copy_(first)
        state.commit(0, None, leaving, last=False)
        state.leaving(leaving).fill_(7.0)  # a layer that is not finished
    with WalkState(tmp_path / "s", "x", False, memory=0) as state:
        assert state.next_layer == 1
        assert torch.equal(state.hidden(), first)


def test_a_mapped_file_that_is_not_what_was_committed(tmp_path):
    with WalkState(tmp_path / "s", "x", False, memory=0) as state:
        state.commit(0, None, state.leaving(state.entering(SHAPE, torch.float32)), last=False)
    (tmp_path / "s" / "hidden-1.map").write_bytes(b"short")
    with WalkState(tmp_path / "s", "x", False, memory=0) as state:
        refused(state.hidden, "hidden-1.map", "not what was committed", "delete")


def test_no_space_is_found_before_anything_is_written(tmp_path, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    refused(
        lambda: MappedTensor(tmp_path / "x.map", SHAPE, torch.float32),
        "x.map", "No space left on device", "hidden_memory_gb",
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
