"""Statistics in blocks of experts and tiles of tokens against a loop over tokens and experts in float64."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ream.core import statistics
from ream.core.experts import ExpertStack, OverwritingUnit, parts
from ream.core.routing import Routing
from ream.core.statistics import LayerStatistics, blocks_of
from ream.models.family.activations import ACTIVATIONS, Clamped, Gated
from tests.core.layers import FIELDS

UNITS = {name: Gated(activation) for name, activation in ACTIVATIONS.items()} | {"clamped": Clamped(1.702, 0.5)}


def scalar_unit(name, gate, up):
    """The unit on one neuron's two numbers, written from docs/method.md and gpt-oss's model card."""
    if name == "clamped":
        gate, up = min(gate, 0.5), min(max(up, -0.5), 0.5)
        return (up + 1) * gate / (1 + np.exp(-1.702 * gate))
    return {"silu": lambda: gate / (1 + np.exp(-gate)), "relu": lambda: max(gate, 0.0)}[name]() * up


def random_layer(rng, tokens, experts, hidden, width, k, dtype=torch.float32, biases=False, input_gate=False):
    """Inputs, weights and routing; the first expert is chosen by no token where another can be."""

    def normal(*shape):
        return torch.from_numpy(rng.normal(size=shape)).to(dtype)

    extra = {}
    if biases:
        extra = {"gate_bias": normal(experts, width), "up_bias": normal(experts, width)}
        extra["down_bias"] = normal(experts, hidden)
    if input_gate:
        extra["input_gate"] = normal(experts, hidden)
    stack = ExpertStack(
        0.5 * normal(experts, width, hidden), normal(experts, width, hidden), normal(experts, hidden, width), **extra
    )
    first = 1 if experts > k else 0
    chosen = [first + rng.permutation(experts - first)[:k] for _ in range(tokens)]
    indices = torch.tensor(np.array(chosen).reshape(tokens, k), dtype=torch.int64)
    scores = torch.from_numpy(rng.random((tokens, experts))).float()
    return normal(tokens, hidden), stack, Routing(normal(tokens, experts), scores, indices, scores.gather(1, indices))


def loop(x, stack, routing, mask, name):
    """Every sum, one token and one expert after the other."""
    arrays = {key: value.double().numpy() for key, value in vars(stack).items() if value is not None}
    (T, N), H = routing.logits.shape, x.shape[1]
    sums = {field: np.zeros(N) for field in FIELDS} | {"tokens": 0.0, "logit_gram": np.zeros((N, N))}
    sums |= {"output_sum": np.zeros((N, H)), "gated_output_sum": np.zeros((N, H))}
    for t in range(T):
        if not mask[t]:
            continue
        sums["tokens"] += 1
        z = routing.logits[t].double().numpy()
        sums["logit_gram"] += np.outer(z, z)
        for j in range(N):
            given = x[t].double().numpy()
            if "input_gate" in arrays:
                given = given / (1 + np.exp(-arrays["input_gate"][j] @ given))
            gate = arrays["gate"][j] @ given + (arrays["gate_bias"][j] if "gate_bias" in arrays else 0)
            up = arrays["up"][j] @ given + (arrays["up_bias"][j] if "up_bias" in arrays else 0)
            h = np.array([scalar_unit(name, g, u) for g, u in zip(gate, up, strict=True)])
            output = arrays["down"][j] @ h + (arrays["down_bias"][j] if "down_bias" in arrays else 0)
            sums["output_sum"][j] += output
            sums["gated_output_sum"][j] += float(routing.scores[t, j]) * output
            for slot in range(routing.indices.shape[1]):
                if routing.indices[t, slot] == j:
                    size = np.sqrt((output**2).sum())
                    sums["count"][j] += 1
                    sums["norm_sum"][j] += size
                    sums["weighted_norm_sum"][j] += float(routing.weights[t, slot]) * size
                    sums["released_norm_sum"][j] += (np.exp(z[j]) / np.exp(z).sum()) ** 2 * size
    return sums


def assert_close(actual, expected, tolerance):
    """Differences are counted against the field's largest value."""
    for field in FIELDS:
        given, wanted = getattr(actual, field), np.asarray(expected[field])
        bound = tolerance * np.abs(wanted).max(initial=0.0)
        np.testing.assert_allclose(given, wanted, rtol=0, atol=bound, err_msg=field)


def blocks(monkeypatch, numbers, tokens):
    monkeypatch.setattr(statistics, "CPU_NUMBERS", numbers)
    monkeypatch.setattr(statistics, "CPU_TOKENS", tokens)


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes_in_random_blocks_match_the_loop(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    tokens, experts, hidden, width = (int(rng.integers(1, most)) for most in (24, 9, 9, 9))
    name = ("silu", "relu", "clamped")[seed % 3]
    layer = random_layer(
        rng, tokens, experts, hidden, width, int(rng.integers(1, experts + 1)), biases=seed % 2 == 0,
        input_gate=seed % 4 == 1,
    )  # fmt: skip
    mask = torch.from_numpy(rng.random(tokens) < 0.7)
    blocks(monkeypatch, int(rng.integers(1, 400)), int(rng.integers(1, 10)))
    sums = LayerStatistics(layer[1], UNITS[name])
    sums.update(layer[0], layer[2], mask)
    assert_close(sums.result(), loop(*layer, mask, name), 2e-6)


@pytest.mark.parametrize("extra", [{}, {"biases": True}, {"input_gate": True}], ids=["plain", "biases", "input-gate"])
def test_bfloat16_is_within_two_hundredths_of_the_loop_whatever_the_blocks(monkeypatch, rng, extra):
    # 8 bits of significand in x, gate, up, h and E, in sums whose terms partly cancel.
    layer = random_layer(rng, 30, 5, 8, 6, 2, torch.bfloat16, **extra)
    expected, everything = loop(*layer, [True] * 30, "silu"), []
    for numbers, tokens in ((1 << 20, 1024), (1, 7), (200, 4)):
        blocks(monkeypatch, numbers, tokens)
        sums = LayerStatistics(layer[1], UNITS["silu"])
        sums.update(layer[0], layer[2])
        assert_close(sums.result(), expected, 0.02)
        everything.append(sums.result().arrays())
    for other in everything[1:]:
        assert_close(type(sums.result())(**other), everything[0], 5e-3)  # products round alike but for their order


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 0.02)])
def test_a_gpu_gives_what_the_loop_gives(rng, dtype, tolerance):
    x, stack, routing = random_layer(rng, 300, 9, 40, 24, 3, dtype, biases=True)
    there = ExpertStack(**{name: tensor.cuda() for name, tensor in parts(stack)})
    sums, mask = LayerStatistics(there, UNITS["silu"]), torch.from_numpy(rng.random(300) < 0.7)
    for part in torch.arange(300).split(90):
        taken = Routing(**{name: tensor.cuda() for name, tensor in vars(routing.take(part)).items()})
        sums.update(x[part].cuda(), taken, mask[part].cuda())
    assert_close(sums.result(), loop(x, stack, routing, mask, "silu"), tolerance)


def test_micro_batches_with_padding_add_up_to_one(monkeypatch, rng):
    layer, mask = random_layer(rng, 40, 6, 8, 5, 2), torch.from_numpy(rng.random(40) < 0.5)
    blocks(monkeypatch, 90, 6)
    sums = LayerStatistics(layer[1], UNITS["silu"])
    mask[10:20] = False  # one micro-batch is padding alone
    for part in torch.arange(40).split(10):
        sums.update(layer[0][part], layer[2].take(part), mask[part])
    assert_close(sums.result(), loop(*layer, mask, "silu"), 2e-6)


def test_interleaved_and_transposed_weights_give_the_same(monkeypatch, rng):
    x, stack, routing = random_layer(rng, 20, 4, 6, 5, 2)
    both = torch.stack([stack.gate, stack.up], dim=2).flatten(1, 2).mT.contiguous().mT  # gpt-oss: [N, H, 2D]
    odd = ExpertStack(both[:, 0::2], both[:, 1::2], stack.down.mT.contiguous().mT)
    assert torch.equal(odd.gate, stack.gate)
    assert 1 not in odd.gate.stride()[1:]
    blocks(monkeypatch, 100, 8)
    sums = LayerStatistics(odd, UNITS["silu"])
    sums.update(x, routing)
    assert_close(sums.result(), loop(x, stack, routing, [True] * 20, "silu"), 2e-6)


def test_no_step_of_an_update_waits_for_the_device(rng):
    # On a GPU each of these makes the host wait; the one wait of `routed_pairs`, tolist, is none of torch's operations.
    waiting = ("nonzero", "_local_scalar_dense", "bincount", "masked_select", "is_nonzero", "item", "unique")

    class Watch(TorchDispatchMode):
        seen: tuple = ()

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.seen += (function.overloadpacket.__name__,)
            if self.seen[-1] in ("index", "index_put_"):
                assert all(index is None or index.dtype == torch.int64 for index in args[1])
            return function(*args, **(kwargs or {}))

    x, stack, routing = random_layer(rng, 20, 4, 6, 5, 2, biases=True)
    sums = LayerStatistics(stack, UNITS["silu"])
    with Watch() as watch:
        sums.update(x, routing, torch.arange(20) < 13)
    assert "bmm" in watch.seen
    assert not [name for name in watch.seen if name in waiting]
    assert sums.result().tokens == 13


@pytest.mark.parametrize("name", UNITS)
def test_overwriting_units_give_the_same_numbers_in_the_memory_of_the_gate(name):
    gate, up = torch.linspace(-4, 4, 60).reshape(2, 5, 6), torch.linspace(3, -3, 60).reshape(2, 5, 6)
    expected, memory = UNITS[name](gate, up), gate.clone()
    assert isinstance(UNITS[name], OverwritingUnit)
    result = UNITS[name].overwrite(memory, up.clone())
    assert result.data_ptr() == memory.data_ptr()
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)


def test_blocks_hold_about_as_many_numbers_as_a_cache():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for tokens, width in ((8192, 96), (8192, 768), (512, 768), (1, 1)):
        rows = min(tokens, 1024)
        block = blocks_of(tokens, width, cpu)
        assert block.tokens == rows
        assert block.experts == 1 or block.experts * rows * width <= 3 << 18
        assert blocks_of(tokens, width, gpu).tokens == tokens
    assert blocks_of(0, 768, cpu).tokens == 1


@pytest.mark.parametrize(("threads", "experts"), [(1, 8), (2, 8), (3, 6), (5, 5), (9, 8)])
def test_threads_share_a_block_evenly_where_there_are_several_experts_for_each(monkeypatch, threads, experts):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert blocks_of(8192, 96, torch.device("cpu")).experts == experts
