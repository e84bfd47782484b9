"""What of the next layer is asked for, and when nothing is."""

import os

import pytest

from ream.models.family.architecture import architecture_of
from ream.models.storage.checkpoint import Checkpoint
from ream.walk import read_ahead as module
from ream.walk.read_ahead import STEP, joined, layer_spans, read_ahead
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Three layers, in shards that layers cross."""
    checkpoint = Checkpoint(tiny.build(tmp_path_factory.mktemp("ahead") / "model", layers=3, shard="15KB"))
    assert len(checkpoint.shards) > 3
    return checkpoint, architecture_of(checkpoint)


@pytest.fixture
def asked(monkeypatch):
    """(file name, begin, bytes) of what the kernel is asked for."""
    found = []

    def advise(handle, begin, size, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        found.append((os.path.basename(os.readlink(f"/proc/self/fd/{handle}")), begin, size))

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return found


@pytest.mark.parametrize("step", [STEP, 100])
def test_all_bytes_of_the_layer_and_no_others_are_asked_for_once(model, asked, monkeypatch, step):
    monkeypatch.setattr(module, "STEP", step)
    checkpoint, architecture = model
    read_ahead(checkpoint, architecture, 1).join()
    expected = {
        (info.shard, byte)
        for name, info in checkpoint.tensors.items()
        if name.startswith("model.layers.1.")
        for byte in range(info.begin, info.end)
    }
    told = [(shard, byte) for shard, begin, size in asked for byte in range(begin, begin + size)]
    assert len(told) == len(set(told))
    assert set(told) == expected
    assert max(size for _, _, size in asked) <= step


def test_spans_that_touch_are_joined(model):
    assert list(joined([(0, 4), (4, 6), (8, 9), (9, 12)])) == [(0, 6), (8, 12)]
    spans = {shard: list(found) for shard, found in layer_spans(*model, 0).items()}
    assert all(len(found) <= 2 for found in spans.values())


def test_beyond_the_last_layer_there_is_nothing(model, asked):
    assert read_ahead(*model, 3) is None
    assert not asked


@pytest.mark.parametrize("free", [None, 1000])
def test_where_memory_is_short_nothing_is_asked_for(model, asked, monkeypatch, free):
    monkeypatch.setattr(module, "free_memory", lambda: free)
    assert read_ahead(*model, 1) is None
    assert not asked


def test_a_shard_that_is_not_there_is_left_to_its_reader(model, asked, tmp_path, monkeypatch):
    checkpoint, architecture = model
    shards = layer_spans(checkpoint, architecture, 1)
    missing = next(iter(shards))
    for shard in checkpoint.shards:
        if shard != missing:
            (tmp_path / shard).symlink_to(checkpoint.folder / shard)
    monkeypatch.setattr(checkpoint, "source", type(checkpoint.source)(tmp_path))
    read_ahead(checkpoint, architecture, 1).join()
    assert {shard for shard, _, _ in asked} == set(shards) - {missing}


def test_a_walk_asks_for_each_layer_but_the_first(model, tmp_path, monkeypatch):
    from ream.compress.one_shot import collect
    from ream.walk import walk
    from tests.compress.walks import Quiet, decoder_of, pieces

    layers = []
    monkeypatch.setattr(walk, "read_ahead", lambda checkpoint, architecture, index: layers.append(index))
    with pieces(tmp_path) as (data, probes, state):
        collect(decoder_of(model[0].folder), data, probes, state, Quiet())
    assert layers == [1, 2, 3]
