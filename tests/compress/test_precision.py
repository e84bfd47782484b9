"""Means of outputs from a sample of a walk's tokens: what is exact, what is sampled, and what is left undecided."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from ream.calibration.packing import pad
from ream.compress import precision as module
from ream.compress.decide import group_layer
from ream.compress.one_shot import collect, collect_all, read_probes
from ream.compress.precision import deciding_error, precision, precision_line, regrouped
from ream.compress.sequential import compress_sequentially
from ream.compress.statistics_file import read_sums
from ream.core.grouping import Groups
from ream.core.output_sample import BLOCKS
from ream.core.sample import Sampling
from ream.core.sums import Sums, mixed, settled
from ream.params import load_params
from ream.walk.batches import batches
from ream.walk.probes import Probes
from ream.walk.state import WalkState
from tests.compress.walks import Quiet, decoder_of, loaded, loops, moe_inputs
from tests.tiny import ROOT, VOCABULARY

METHODS = load_params(ROOT / "params.yaml").methods
KEPT, GROUP_SIZE, PROBES, LENGTH = 4, 3, 40, 24
EXACT = ("tokens", "count", "norm_sum", "weighted_norm_sum", "released_norm_sum", "logit_gram")


def texts(count, seed=5):
    """Sequences with few distinct words each, so that tokens of a sequence are alike."""
    rng = np.random.default_rng(seed)
    return [rng.choice(rng.integers(VOCABULARY, size=9), size=rng.integers(9, LENGTH)).tolist() for _ in range(count)]


@contextlib.contextmanager
def walk(folder, count=60, sampling=None, rows=slice(None), probes=PROBES, batch_tokens=120):
    data = batches(*pad(texts(count), pad_id=0), batch_tokens)
    with WalkState(folder, "x", discard_stale=False) as state:
        yield data.part(rows), Probes(data, probes, 0, rows, sampling), state


def measured(folder, model, **options):
    """Folder of a walk that measures everything."""
    with walk(folder, **options) as (data, probes, state):
        collect(decoder_of(model), data, probes, state, Quiet())
    return state.folder


def test_routed_sums_and_probes_are_exact_and_blocks_are_those_of_loops(checkpoint, tmp_path):
    size = Sampling(300, 300)
    whole, sampled = measured(tmp_path / "a", checkpoint), measured(tmp_path / "b", checkpoint, sampling=size)
    total = sum(map(len, texts(60)))
    assert total > 700
    places = np.random.default_rng(0).permutation(total)[:300]
    model = loaded(checkpoint)
    for layer in (0, 2):
        exact, ours = read_sums(whole, layer), read_sums(sampled, layer)
        for name in EXACT:
            np.testing.assert_allclose(getattr(ours, name), getattr(exact, name), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(read_probes(sampled, layer), read_probes(whole, layer), rtol=1e-5, atol=1e-5)
        assert np.isnan(ours.output_sum).all()
        assert ours.sample_tokens.tolist() == [len(places[block::BLOCKS]) for block in range(BLOCKS)]
        if layer == 0:  # block 3 in loops and float64
            x = moe_inputs(model, layer, texts(60))[torch.from_numpy(places[3::BLOCKS])]
            expected = loops(model.model.layers[layer].mlp, x)
            np.testing.assert_allclose(ours.output_parts[3], expected["output_sum"], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(ours.gated_output_parts[3], expected["gated_output_sum"], rtol=1e-4, atol=1e-4)


def test_shards_have_the_sample_of_the_whole(checkpoint, tmp_path):
    size = Sampling(300, 300)
    whole = measured(tmp_path / "whole", checkpoint, sampling=size)
    halves = [
        measured(tmp_path / f"part-{start}", checkpoint, sampling=size, rows=slice(start, start + 30))
        for start in (0, 30)
    ]
    for layer in (0, 2):
        one, both = read_sums(whole, layer), read_sums(halves[0], layer) + read_sums(halves[1], layer)
        assert both.sample_tokens.tolist() == one.sample_tokens.tolist()
        for kind in ("output_parts", "gated_output_parts"):
            np.testing.assert_allclose(getattr(both, kind), getattr(one, kind), rtol=1e-4, atol=1e-4)


def test_a_sample_grows_until_it_is_precise_enough(checkpoint, tmp_path, monkeypatch):
    found = {}
    for tolerance in (10.0, 0.0):
        monkeypatch.setattr("ream.compress.one_shot.TOLERANCE", tolerance)
        folder = measured(tmp_path / str(tolerance), checkpoint, sampling=Sampling(64, 300))
        found[tolerance] = read_sums(folder, 0).sample_tokens.sum()
    assert found == {10.0: 64, 0.0: 300}
    exactly = read_sums(measured(tmp_path / "once", checkpoint, sampling=Sampling(300, 300)), 0)
    grown = read_sums(tmp_path / "0.0", 0)
    np.testing.assert_allclose(grown.output_parts, exactly.output_parts, rtol=1e-4, atol=1e-4)


def test_what_needs_no_means_takes_no_sample(checkpoint, tmp_path):
    with walk(tmp_path / "state", sampling=Sampling(64, 300)) as (data, probes, state):
        collect_all(decoder_of(checkpoint), [(data, probes, state)], Quiet(), needs=frozenset({"norms", "probes"}))
    sums = read_sums(state.folder, 0)
    assert sums.sample_tokens is None
    assert np.isnan(sums.output_sum).all()
    assert len(read_probes(state.folder, 0)) == PROBES


def apart(one, other, undecided):
    """Marks the pairs of decided experts that are together in one grouping and apart in the other, [N, N]."""
    together = [groups.group[:, None] == groups.group[None, :] for groups in (one, other)]
    decided = ~np.isin(np.arange(len(one.group)), undecided)
    return (together[0] != together[1]) & decided[:, None] & decided[None, :]


def test_regrouped_by_hand():
    before = Groups(np.array([0, 3]), np.array([0, 0, 0, 1, 1]))  # 0 with 1 and 2, 3 with 4
    assert regrouped(before, before).sum() == 0
    moved = Groups(np.array([0, 3]), np.array([0, 0, 1, 1, 1]))
    assert np.flatnonzero(regrouped(before, moved)).tolist() == [2]
    assert np.flatnonzero(regrouped(moved, before)).tolist() == [2]
    renamed = Groups(np.array([1, 3]), np.array([0, 0, 0, 1, 1]))  # the same groups, with another centroid
    assert np.flatnonzero(regrouped(before, renamed)).tolist() == [0, 1]
    both = Groups(np.array([1, 3]), np.array([0, 0, 1, 1, 1]))
    assert np.flatnonzero(regrouped(before, both)).tolist() == [0, 1, 2]


@pytest.fixture(scope="module")
def of_many_tokens(checkpoint, tmp_path_factory):
    """Folders of walks of 6,390 tokens by the size of their sample; None: all of them."""
    folder, sizes = tmp_path_factory.mktemp("many"), (None, 1024, 3072)
    return {
        size: measured(folder / str(size), checkpoint, count=400, sampling=size and Sampling(size, size))
        for size in sizes
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ream", "hc-smoe", "ream-nearest-centroid", "ream-ungated"])
def test_groups_differ_from_those_of_all_tokens_where_they_are_undecided_alone(name, of_many_tokens):
    method, undecided = METHODS[name].composition(), 0
    for tokens in (1024, 3072):
        for layer in (0, 1, 2):
            exact, sums = read_sums(of_many_tokens[None], layer), settled(read_sums(of_many_tokens[tokens], layer))
            true = group_layer(method, exact, KEPT, GROUP_SIZE, 1)
            ours = group_layer(method, sums, KEPT, GROUP_SIZE, 1)
            known = precision(method, sums, ours, KEPT, GROUP_SIZE, 1)
            assert precision(method, exact, true, KEPT, GROUP_SIZE, 1) is None
            other = apart(true.groups, ours.groups, known.undecided)
            assert not other.any()
            undecided += len(known.undecided)
    assert undecided < 0.6 * 6 * 8


def test_an_undecided_choice_by_hand():
    """Expert 2 is as near to 0 as to 1 but for its error; expert 3 is far nearer to 1, as 4 is to 0."""
    means = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.01], [0.1, 1.0], [1.0, 0.1]])
    deviations = np.zeros((BLOCKS, 5, 2), dtype=np.float32)
    deviations[:, 2, 0] = 0.05 * np.array([1, -1] * (BLOCKS // 2))  # a standard error of 0.2
    ones = np.ones(5)
    sums = Sums(
        np.array(1.0), np.array([5.0, 4.0, 3.0, 2.0, 1.0]), ones, ones, ones, means, means, np.eye(5),
        output_deviations=deviations,
    )  # fmt: skip
    method = replace(METHODS["hc-smoe"].composition(), grouping="nearest-centroid")
    layer = group_layer(method, sums, 2, 4, 1)
    assert layer.groups.group.tolist() == [0, 1, 1, 1, 0]
    known = precision(method, sums, layer, 2, 4, 1)
    assert known.undecided == (2,)
    # cos((1, 1.01), (0, 1)) changes by about (1 / 2√2) · 0.2 / 2 for each standard error
    assert known.error == pytest.approx(0.2 / (4 * np.sqrt(2)), rel=0.2)
    assert deciding_error(method, sums, layer) == known.error
    line = precision_line({"0": known.facts(), "3": {"error": 0.005, "undecided": []}}, experts=5)
    assert "standard error of 0.036, which is above 0.01" in line
    assert line.endswith("the groups of 1 of 10 experts are undecided")
    assert precision_line({}, 5) == ""


def test_mixes_of_sampled_sources_have_precision(checkpoint, tmp_path):
    sampled = measured(tmp_path / "a", checkpoint, sampling=Sampling(256, 256))
    exact = measured(tmp_path / "b", checkpoint, count=20)
    method = METHODS["ream"].composition()
    sums = mixed({"a": read_sums(sampled, 0), "b": read_sums(exact, 0)}, {"a": 0.3, "b": 0.7})
    part = mixed({"a": read_sums(sampled, 0)}, {"a": 1.0})
    np.testing.assert_allclose(sums.gated_output_deviations, 0.3 * part.gated_output_deviations, rtol=1e-5)
    layer = group_layer(method, sums, KEPT, GROUP_SIZE, 1)
    assert 0 < precision(method, sums, layer, KEPT, GROUP_SIZE, 1).error < 0.5


def walked(folder, model, sampling, tolerance, monkeypatch):
    monkeypatch.setattr("ream.compress.sequential.TOLERANCE", tolerance)
    with walk(folder, sampling=sampling) as (data, probes, state):
        method = METHODS["ream"].composition()
        return compress_sequentially(
            decoder_of(model), data, probes, method, KEPT, GROUP_SIZE, state, Quiet(), {"method": "ream"}
        )


def test_a_sequential_walk_tells_how_precise_it_is(checkpoint, tmp_path, monkeypatch):
    total = sum(map(len, texts(60)))
    whole = walked(tmp_path / "whole", checkpoint, None, 0.0, monkeypatch)
    assert "sample" not in whole.facts
    grown = walked(tmp_path / "grown", checkpoint, Sampling(256, total), 0.0, monkeypatch)
    for index, layer in whole.layers.items():  # the sample has grown to all tokens
        assert grown.facts["sample"][str(index)] == {"error": 0.0, "undecided": []}
        assert np.array_equal(grown.layers[index].groups.group, layer.groups.group)
        np.testing.assert_allclose(grown.layers[index].saliency, layer.saliency, rtol=1e-4)
    small = walked(tmp_path / "small", checkpoint, Sampling(256, total), 10.0, monkeypatch)
    assert set(small.facts["sample"]) == {"0", "1", "2"}
    assert all(0 < layer["error"] < 0.5 for layer in small.facts["sample"].values())
    assert module.TOLERANCE == 0.01
