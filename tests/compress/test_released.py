"""A one-shot walk of `ream-released` against the steps of the released code on what the model's own forward shows."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from ream.calibration.packing import pad
from ream.compress.decide import absorbed, group_layer
from ream.compress.one_shot import collect_all
from ream.compress.statistics_file import read_sums
from ream.core.alignment import align_groups
from ream.core.composition import needs
from ream.core.experts import Expert
from ream.core.sums import settled
from ream.params import load_params
from ream.walk.batches import batches
from ream.walk.probes import Probes
from ream.walk.state import WalkState
from tests.compress.walks import Quiet, decoder_of, experts_of, loaded, moe_inputs, sequences
from tests.core import reference
from tests.core.layers import silu_unit
from tests.core.test_projection import literally
from tests.tiny import EXPERTS, ROOT, TOP_K

KEPT, GROUP_SIZE, COUNT = 4, 4, 19
METHOD = replace(
    load_params(ROOT / "params.yaml").methods["ream-released"].composition(),
    sequential=False,
    alignment=("weights-pca",),
)


def walked(folder, state_folder, size, batch_tokens, rows=slice(None)):
    """The sums of layer 0 of the rows of a walk."""
    data = batches(*pad(sequences(COUNT), pad_id=0), batch_tokens)
    probes = Probes(data, 0, 0, rows, batch=size)
    with WalkState(state_folder, "x", discard_stale=False) as state:
        collect_all(decoder_of(folder), [(data.part(rows), probes, state)], Quiet(), needs=needs(METHOD))
        return read_sums(state_folder, 0)


@pytest.fixture(scope="module")
def released(checkpoint):
    """Statistics in loops of each sequence, of the padded text's real tokens, and of all of them; the experts."""
    block = (model := loaded(checkpoint)).model.layers[0].mlp
    weights = experts_of(block)
    each = []
    for ids in sequences(COUNT):
        x = moe_inputs(model, 0, [ids]).double().tolist()
        z, _, chosen, combine = reference.route(x, block.gate.weight.detach().double().tolist(), TOP_K)
        p = [reference.softmax(row) for row in z]
        each.append(reference.statistics(x, *(w.double().tolist() for w in weights), z, p, chosen, combine) | {"z": z})
    return each, weights


def decided(released, size):
    """Saliency, owners and permutations by the steps of the released code."""
    each, weights = released
    saliency = reference.raised(reference.released_batches(each, size))
    outputs = np.sum([np.array(sequence["gated_output_sum"]) for sequence in each], axis=0)
    gated = reference.cosine_of_means([outputs.tolist()])
    gates = reference.gate_logit_similarity([row for sequence in each for row in sequence["z"]])
    alike = ((np.array(gated) + np.array(gates)) / 2).tolist()
    owner = reference.pseudo_pruning(saliency, alike, KEPT, GROUP_SIZE - 1)
    projected = literally(list(zip(*weights, strict=True)), min(64, 3 * weights[0].shape[2]))
    permutations = {
        j: linear_sum_assignment(torch.cdist(projected[owner[j]], projected[j]).numpy())[1]
        for j in range(EXPERTS)
        if owner[j] != j
    }
    return saliency, owner, permutations


@pytest.mark.parametrize(("size", "batch_tokens"), [(8, 30), (8, 1000), (3, 50), (1, 1000), (100, 30)])
def test_a_one_shot_run_equals_the_released_steps(checkpoint, released, tmp_path, size, batch_tokens):
    saliency, owner, permutations = decided(released, size)
    sums = settled(walked(checkpoint, tmp_path / "state", size, batch_tokens))
    layer = group_layer(METHOD, sums, KEPT, GROUP_SIZE, 1)
    np.testing.assert_allclose(layer.saliency, saliency, rtol=0, atol=5e-7)
    assert layer.groups.kept[layer.groups.group].tolist() == owner
    np.testing.assert_allclose(layer.weights, reference.merge_weights(saliency, owner), rtol=1e-5)
    gate, up, down = released[1]
    found = align_groups(
        absorbed(layer), lambda j: Expert(gate[j], up[j], down[j]), METHOD.alignment, None, silu_unit, experts=EXPERTS
    )
    assert {j: found[j].tolist() for j in found} == {j: permutations[j].tolist() for j in permutations}


def test_batch_borders_do_not_move_with_shards(checkpoint, tmp_path):
    whole = walked(checkpoint, tmp_path / "whole", 8, 30)
    cut = [slice(0, 5), slice(5, 11), slice(11, COUNT)]  # none is a border of 8 sequences
    parts = [walked(checkpoint, tmp_path / str(rows.start), 8, 30, rows) for rows in cut]
    total = parts[0] + parts[1] + parts[2]
    assert whole.batch_count.shape == (math.ceil(COUNT / 8), EXPERTS)
    assert np.array_equal(total.batch_count, whole.batch_count)
    np.testing.assert_allclose(total.batch_norm_sum, whole.batch_norm_sum, rtol=1e-6)


def test_an_expert_that_is_never_routed_is_merged_with_the_raised_saliency(checkpoint, tmp_path):
    sums = settled(walked(checkpoint, tmp_path / "state", 8, 30))
    never = int(np.argmin(sums.batch_mean_sum))
    gone = {"count": sums.count.copy(), "batch_mean_sum": sums.batch_mean_sum.copy()}
    gone["count"][never] = gone["batch_mean_sum"][never] = 0.0
    layer = group_layer(METHOD, replace(sums, **gone), KEPT, GROUP_SIZE, 1)
    others = np.delete(gone["batch_mean_sum"], never) / sums.tokens
    assert layer.saliency[never] == min(0.5, others[others > 0].min())
    assert layer.weights[never] > 0
    plain = group_layer(replace(METHOD, raise_zeros=False), replace(sums, **gone), KEPT, GROUP_SIZE, 1)
    assert plain.weights[never] == 0.0
