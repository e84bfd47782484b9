"""Statistics and probes of the walk against nested loops over what the transformers model's own forward shows."""

import numpy as np
import pytest
import torch

from ream.compress.one_shot import collect, mixed_probes, read_probes
from ream.compress.statistics_file import read_sums
from ream.errors import UserError
from ream.models.family.limits import Limits
from ream.walk.batches import check_inputs
from tests.compress.walks import Quiet, decoder_of, loaded, loops, moe_inputs, pieces, sequences
from tests.tiny import VOCABULARY


@pytest.fixture(scope="module")
def collected(mixed_depth, tmp_path_factory):
    """Folder of a finished walk's layers, and how many micro-batches it told of."""
    folder, progress = tmp_path_factory.mktemp("walk"), Quiet()
    with pieces(folder) as (data, probes, state):
        collect(decoder_of(mixed_depth), data, probes, state, progress)
    assert progress.done == 3 * len(data)
    assert len(data) > 2
    return state.folder


@pytest.mark.parametrize("layer", [0, 2])
def test_statistics_equal_loops_over_the_models_own_forward(collected, mixed_depth, layer):
    model = loaded(mixed_depth)
    expected = loops(model.model.layers[layer].mlp, moe_inputs(model, layer, sequences()))
    sums = read_sums(collected, layer).arrays()
    assert set(sums) == set(expected)
    assert sums["tokens"] == sum(map(len, sequences()))
    assert np.array_equal(sums["count"], expected["count"])
    for name, value in expected.items():
        rtol = 32e-5 if name == "power_norm_sum" else 1e-5  # a sum of 32nd powers of norms
        np.testing.assert_allclose(sums[name], value, rtol=rtol, atol=1e-4, err_msg=name)


def test_probes_are_the_same_tokens_in_every_layer(collected, mixed_depth):
    model, total = loaded(mixed_depth), sum(map(len, sequences()))
    places = np.random.default_rng(0).permutation(total)[:40]
    for layer in (0, 2):
        expected = moe_inputs(model, layer, sequences())[torch.from_numpy(places)]
        torch.testing.assert_close(read_probes(collected, layer), expected, rtol=1e-5, atol=1e-5)
    assert total > 40


def test_all_tokens_are_probes_where_there_are_fewer(mixed_depth, tmp_path):
    texts = sequences(2)
    with pieces(tmp_path, probes=500, texts=texts) as (data, probes, state):
        collect(decoder_of(mixed_depth), data, probes, state, Quiet())
    expected = moe_inputs(loaded(mixed_depth), 0, texts)
    order = np.random.default_rng(0).permutation(len(expected))
    torch.testing.assert_close(read_probes(state.folder, 0), expected[order], rtol=1e-5, atol=1e-5)


def test_a_dense_layer_keeps_nothing(collected):
    assert sorted(path.name for path in collected.glob("layer-*")) == [
        "layer-000.safetensors", "layer-002.safetensors"
    ]  # fmt: skip


def test_micro_batches_change_nothing(collected, mixed_depth, tmp_path):
    with pieces(tmp_path, batch_tokens=10_000) as (data, probes, state):
        assert len(data) == 1
        collect(decoder_of(mixed_depth), data, probes, state, Quiet())
    for layer in (0, 2):
        one, many = read_sums(state.folder, layer).arrays(), read_sums(collected, layer).arrays()
        for name in one:
            rtol = 32e-5 if name == "power_norm_sum" else 1e-5  # a sum of 32nd powers of norms
            np.testing.assert_allclose(one[name], many[name], rtol=rtol, atol=1e-4, err_msg=name)
        torch.testing.assert_close(read_probes(state.folder, layer), read_probes(collected, layer))


def test_probes_of_a_mix_are_the_first_of_each_source(collected):
    folders = {"a": collected, "b": collected, "c": collected}
    probes = read_probes(collected, 0)
    mixed = mixed_probes(folders, {"a": 0.25, "b": 0.75, "c": 0.0}, 20, 0)
    assert torch.equal(mixed, torch.cat([probes[:5], probes[:15]]))
    rounded = mixed_probes(folders, {"a": 0.28, "b": 0.72}, 20, 0)  # 5.6 and 14.4
    assert torch.equal(rounded, torch.cat([probes[:6], probes[:14]]))


def test_sequences_that_the_model_cannot_read_are_refused():
    mask = np.array([[True, True, False], [True, False, False]])  # the longest has two tokens
    ids, limits = np.where(mask, VOCABULARY - 1, 0), Limits(VOCABULARY, positions=2)
    check_inputs(ids, mask, limits, multi_token=1)
    check_inputs(np.empty((0, 0)), np.empty((0, 0), dtype=bool), limits, multi_token=-1)  # no sequence is held out
    with pytest.raises(UserError, match=f"calibration token {VOCABULARY} is outside the model's vocabulary"):
        check_inputs(ids + 1, mask, limits)
    with pytest.raises(UserError, match=r"a calibration sequence has 2 tokens, more than the model's 1 positions"):
        check_inputs(ids, mask, Limits(VOCABULARY, positions=1))
    check_inputs(ids, mask, Limits(VOCABULARY, positions=None))
    with pytest.raises(UserError, match=r"the longest .* has 2 tokens, but the last layer .* sequences of at most 2;"):
        check_inputs(ids, mask, limits, multi_token=2)
