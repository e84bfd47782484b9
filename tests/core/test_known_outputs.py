"""Outputs of routed experts that are used again after pruning: the plain sums, with less computed."""

import numpy as np
import pytest
import torch

from ream.core import known_outputs
from ream.core.experts import ExpertStack
from ream.core.known_outputs import CHANGED, OutputStore
from ream.core.pairs import routed_pairs
from ream.core.routed_outputs import expert_by_expert
from ream.core.routing import Routing
from ream.core.statistics import LayerStatistics
from tests.core.layers import random_layer, silu_unit
from tests.core.test_routed_outputs import output_of

NORMS, TOKENS = frozenset({"norms"}), 17


def pruned(layer, kept):
    """The experts that are kept, and a router that selects the two of them with the largest logits."""
    experts = ExpertStack(*(getattr(layer.experts, name)[kept] for name in ("gate", "up", "down")))
    logits = layer.routing.logits[:, kept]
    scores = torch.softmax(logits, -1)
    weights, indices = scores.topk(layer.routing.indices.shape[1], dim=1)
    return experts, Routing(logits, scores, indices, weights / weights.sum(1, keepdim=True))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("changed", [[], [2]])
def test_the_sum_over_kept_experts_is_that_of_loops_and_only_the_rest_is_computed(rng, monkeypatch, padded, changed):
    layer, kept = random_layer(rng, never=(1,)), [0, 2, 3, 5]
    mask = torch.from_numpy(rng.permutation(TOKENS) < 11) if padded else None
    store = OutputStore()
    statistics = LayerStatistics(layer.experts, silu_unit, NORMS)
    statistics.update(layer.x, layer.routing, mask, room=lambda pairs, x: store.room(3, pairs, x))
    assert store.known(0) is None
    experts, routing = pruned(layer, kept)
    origins = [CHANGED if expert in changed else expert for expert in kept]
    for expert in changed:
        experts.down[kept.index(expert)] *= 2
    computed = []

    def counted(x, pairs, *others):
        for part, tokens, outputs in expert_by_expert(x, pairs, *others):
            computed.append(len(tokens))
            yield part, tokens, outputs

    monkeypatch.setattr("ream.core.routed_outputs.expert_by_expert", counted)
    found = store.known(3).sum(layer.x, routing, origins, experts, silu_unit)
    rest = 0
    for token in range(TOKENS):
        expected = np.zeros(8)
        measured = mask is None or bool(mask[token])
        before = layer.routing.indices[token].tolist() if measured else []
        for position, weight in zip(routing.indices[token].tolist(), routing.weights[token].tolist(), strict=True):
            expert = kept[position]
            rest += expert not in before or expert in changed
            expected += weight * (1 + (expert in changed)) * np.array(output_of(layer, token, expert))
        np.testing.assert_allclose(found[token], expected, rtol=1e-4, atol=1e-5)
    assert sum(computed) == rest < routing.indices.numel()


def test_room_is_given_in_turn_until_it_is_full_and_again_for_the_next_layer(rng):
    """17 tokens to 2 experts each, 8 float32 each: 1088 bytes a micro-batch."""
    layer, store = random_layer(rng), OutputStore(2 * 1088)
    pairs = routed_pairs(layer.routing.indices, 6, TOKENS)
    rooms = [store.room(start, pairs, layer.x) for start in (0, 1, 2)]
    assert [room is None for room in rooms] == [False, False, True]
    assert rooms[0].shape == (2 * TOKENS, 8)
    store.clear()
    assert [store.known(start) for start in (0, 1, 2)] == [None] * 3
    assert store.room(0, pairs, layer.x).data_ptr() == rooms[0].data_ptr(), "the same memory"
    assert known_outputs.MOST_BYTES == 2**30
