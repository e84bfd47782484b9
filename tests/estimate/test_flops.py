"""The arithmetic that is announced, against torch's own count of a whole walk."""

import itertools
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ream.compress.candidates import Candidates
from ream.compress.held_out import held_out_total
from ream.compress.one_shot import collect_all
from ream.compress.sequential import SequentialCompressor, compress_sequentially
from ream.core.composition import needs
from ream.core.known_outputs import OutputStore
from ream.core.refit import chosen_ridge
from ream.core.sample import Sampling
from ream.estimate.flops import attention_flops, flops_of
from ream.estimate.work import Work
from ream.models.decoder import Decoder
from ream.models.inspection.inventory import inventory
from ream.params import Method, load_params
from ream.walk.probes import Probes
from tests.compress.walks import Quiet, opened, pieces
from tests.models.families import build
from tests.subsets import SLOW, some_slow
from tests.tiny import ROOT, VOCABULARY

LENGTH, COUNT, KEPT, PROBES = 64, 4, 4, 32
TEXTS = np.random.default_rng(3).integers(VOCABULARY, size=(COUNT, LENGTH)).tolist()
METHODS = load_params(ROOT / "params.yaml").methods


def grouped(x, weight, *_, out_shape=None, **__):
    return 2 * x[0] * x[1] * weight[-1]


def attended(query, key, value, *_, out_shape=None, **__):
    batch, heads, length, dim = query
    return 2 * batch * heads * length * key[-2] * (dim + value[-1])


def solved(triangle, right, *_, out_shape=None, **__):
    """A triangular system with n unknowns takes n² operations a column."""
    return math.prod(right) * triangle[-1]


# What torch's counter does not know.
BESIDES = {
    torch.ops.aten._grouped_mm: grouped,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attended,
    torch.ops.aten.linalg_solve_triangular: solved,
}


def work(method, **changes):
    values = {
        "experts": KEPT, "group_size": 8, "sequential": method.sequential, "merges": method.grouping != "pruning",
        "terms": tuple(method.alignment), "sequences": COUNT, "tokens": LENGTH, "passes": 1, "probes": PROBES,
        "batch_tokens": 2 * LENGTH, "hidden_memory": 8e9, "device": torch.device("cpu"), "dtype": torch.float32,
        "refit": method.refit and method.refit.target, "sweeps": method.refit.sweeps if method.refit else 0,
        "iterations": method.refit.iterations if method.refit else 0,
        "chooses": sum(parts.merging == "neurons" for parts in (method, *method.candidates)),
        "candidates": 1 + len(method.candidates) if method.composition().chooses else 0,
        "ridges": method.composition().chooses and method.refit.ridge == "auto",
        "router": bool(method.refit and method.refit.router),
        "held_out": held_out_total(method.composition(), {"": COUNT}),
        "needs": needs(method.composition()),
    }  # fmt: skip
    return Work(**values | changes)


@pytest.fixture(autouse=True)
def computed_again(monkeypatch):
    """No outputs of routed experts are kept: how many that would save depends on the text, so it is not announced."""
    monkeypatch.setattr(SequentialCompressor, "_store", OutputStore(0))


def counted(folder, tmp_path, method, sampled=None):
    """(torch's count of a walk, ours); mean outputs of all tokens, or of so many."""
    checkpoint, architecture = opened(folder)
    decoder = Decoder(checkpoint, architecture, torch.device("cpu"), torch.float32)
    counter = FlopCounterMode(display=False, custom_mapping=BESIDES)
    with pieces(tmp_path, probes=PROBES, batch_tokens=2 * LENGTH, texts=TEXTS) as (data, probes, state), counter:
        if sampled is not None:
            probes = Probes(data, PROBES, 0, sampling=Sampling(sampled, sampled))
        if method.sequential:
            compress_sequentially(decoder, data, probes, method.composition(), KEPT, 8, state, Quiet(), {})
        else:
            collect_all(decoder, [(data, probes, state)], Quiet(), needs=needs(method.composition()))
    numbers = architecture.family.numbers(checkpoint.config)
    terms = {} if method.sequential else {"terms": ()}  # the alignment is a stage of its own
    asked = work(method, sampled=sampled, **terms)
    return counter.get_total_flops(), flops_of(inventory(checkpoint, architecture), architecture, numbers, asked)


# Of every kind of attention and of expert layer one.
@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
@pytest.mark.parametrize(
    ("family", "method"),
    some_slow(
        list(
            product(
                ["qwen3_moe", "qwen3_next", "deepseek_v3", "gpt_oss", "llama4"],
                ["ream", "reap", "reap-sequential", "hc-smoe", "frequency"],
            )
        ),
        keep=[
            ("qwen3_moe", "ream"),
            ("gpt_oss", "hc-smoe"),
            ("llama4", "reap-sequential"),
            ("llama4", "frequency"),
            ("deepseek_v3", "frequency"),
            ("qwen3_moe", "reap"),
            ("qwen3_next", "frequency"),
        ],
    ),
)
def test_a_walk_takes_the_operations_announced(family, method, tmp_path):
    found, announced = counted(build(family, tmp_path / "model"), tmp_path, METHODS[method])
    assert announced.total == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize(
    ("family", "method"),
    some_slow(
        list(product(["qwen3_moe", "gpt_oss"], ["ream", "hc-smoe", "ream-ungated"])),
        keep=[("qwen3_moe", "ream"), ("gpt_oss", "hc-smoe")],
    ),
)
def test_a_walk_with_sampled_means_takes_the_operations_announced(family, method, tmp_path):
    found, announced = counted(build(family, tmp_path / "model"), tmp_path, METHODS[method], sampled=96)
    assert announced.total == pytest.approx(found, rel=0.02)


def test_outputs_that_are_kept_save_some_of_the_operations_announced(tmp_path, monkeypatch):
    """Of a pruned layer's 2 · T pairs those are computed again that go to an expert in the place of a removed one."""
    monkeypatch.setattr(SequentialCompressor, "_store", OutputStore())
    found, announced = counted(build("qwen3_moe", tmp_path / "model"), tmp_path, METHODS["reap-sequential"])
    pairs = 2 * 2 * COUNT * LENGTH * (6 * 16 * 8)  # operations of all pairs of both layers with experts
    assert 0.2 * pairs < announced.total - found < 0.9 * pairs


def refitted(target, **changes):
    pruned = {"saliency": "reap", "grouping": "pruning"}
    return Method(**pruned | changes | {"sequential": True, "refit": {"target": target, "sweeps": 1, "ridge": 1e-3}})


NEURONS = {"grouping": "matching", "similarity": ["gate-logits"], "merging": "neurons"}


@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
@pytest.mark.parametrize(
    ("family", "method", "direct"),
    [
        pytest.param("qwen3_moe", refitted("layer"), 4096, id="layer, at once"),
        pytest.param("qwen3_moe", refitted("layer"), 0, id="layer, one sweep", marks=SLOW),
        pytest.param("qwen3_moe", refitted("global", **NEURONS), 4096, id="global, neurons, at once", marks=SLOW),
        pytest.param("qwen3_moe", refitted("global", **NEURONS), 0, id="global, neurons, one sweep"),
        pytest.param("gpt_oss", refitted("global"), 4096, id="gpt-oss, at once", marks=SLOW),
        pytest.param("gpt_oss", refitted("global"), 0, id="gpt-oss, one sweep", marks=SLOW),
        pytest.param("llama4", refitted("layer", **NEURONS), 4096, id="llama 4, neurons, at once", marks=SLOW),
        pytest.param("llama4", refitted("layer", **NEURONS), 0, id="llama 4, one sweep", marks=SLOW),
    ],
)
def test_a_walk_with_a_refit_takes_the_operations_announced(family, method, direct, tmp_path, monkeypatch):
    """But for factors and what solves with them, which torch does not count."""
    monkeypatch.setattr("ream.compress.refit_layer.DIRECT", direct)
    monkeypatch.setattr("ream.estimate.refit_cost.DIRECT", direct)
    found, announced = counted(build(family, tmp_path / "model"), tmp_path, method)
    assert announced.total - announced.solving == pytest.approx(found, rel=0.02)


@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
@pytest.mark.parametrize(
    ("family", "target", "direct"),
    [
        pytest.param("qwen3_moe", "global", 4096, id="at once"),
        pytest.param("qwen3_moe", "layer", 0, id="one sweep", marks=SLOW),
        pytest.param("gpt_oss", "global", 4096, id="gpt-oss, at once", marks=SLOW),
        pytest.param("deepseek_v3", "global", 0, id="deepseek, one sweep", marks=SLOW),
    ],
)
def test_a_walk_with_candidates_takes_the_operations_announced(family, target, direct, tmp_path, monkeypatch):
    """Where as many λ are tried as can be: five for the first candidate, and all for the one that has its own."""
    monkeypatch.setattr("ream.compress.refit_layer.DIRECT", direct)
    monkeypatch.setattr("ream.estimate.refit_cost.DIRECT", direct)
    scores = itertools.count(1)
    monkeypatch.setattr("ream.core.refit.chosen_ridge._score", announced_score(chosen_ridge._score, scores))
    monkeypatch.setattr("ream.core.refit.chosen_ridge._descend", most)
    monkeypatch.setattr(Candidates, "_refitted", first_worst(Candidates._refitted))
    parts = {"saliency": "reap", "grouping": "pruning", "sequential": True}
    refit = {"target": target, "sweeps": 1, "ridge": "auto", "holdout": 0.25}
    tried = [{"saliency": "ean", "grouping": "pruning"}, {"saliency": "frequency"} | NEURONS]
    found, announced = counted(
        build(family, tmp_path / "model"), tmp_path, Method(**parts, refit=refit, candidates=tried)
    )
    assert announced.total - announced.solving == pytest.approx(found, rel=0.02)


def most(left, begin, ridges):
    """`_descend` with as many λ as can be, each better here than the one before."""
    place = ridges.index(begin)
    down, up = ridges[place:], (*ridges[place : place + 2], *ridges[:place])
    for ridge in max(down, up, key=len) if begin == chosen_ridge.BEGIN else ridges:
        left(ridge)


def first_worst(refitted):
    """The refit of a candidate, after which the first leaves more than all others, so that another gets its own λ."""

    def worse(candidates, number, *given, **named):
        trial = refitted(candidates, number, *given, **named)
        return replace(trial, errors=trial.errors * (1 if number else 1e6))

    return worse


def announced_score(score, numbers):
    """The function, which takes its pass over the tokens, with a result that falls from call to call."""

    def falling(*given):
        score(*given)
        return 1.0 / next(numbers)

    return falling


@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
@pytest.mark.parametrize(
    ("family", "at_a_time"), some_slow([("qwen3_moe", 3), ("gpt_oss", KEPT)], keep=[("qwen3_moe", 3)])
)
def test_a_walk_with_a_fit_takes_the_operations_announced(family, at_a_time, tmp_path, monkeypatch):
    """With as many passes as are announced: none of them raises the error."""
    for module in ("compress.refit_layer", "estimate.refit_cost"):
        monkeypatch.setattr(f"ream.{module}.experts_at_a_time", lambda *_: at_a_time)
    monkeypatch.setattr("ream.compress.held_out.held_out_mask", lambda count: torch.zeros(count, dtype=torch.bool))
    monkeypatch.setattr(Work, "fitted_share", 1.0)
    method = refitted("layer")
    method = method.model_copy(update={"refit": method.refit.model_copy(update={"iterations": 4})})
    found, announced = counted(build(family, tmp_path / "model"), tmp_path, method)
    assert announced.total - announced.solving == pytest.approx(found, rel=0.02)


def test_parts_by_hand(tmp_path):
    """Tiny Qwen3-MoE: 2 of 3 layers with N = 8, k = 2, H = 16, D = 8; 2 heads of 8, 1 of keys; 256 tokens."""
    checkpoint, architecture = opened(build("qwen3_moe", tmp_path / "model"))
    parts, numbers, tokens = inventory(checkpoint, architecture), checkpoint.config, COUNT * LENGTH
    flops = flops_of(parts, architecture, numbers, work(METHODS["ream"]))
    attention = 2 * (16 * 16 + 2 * 16 * 8 + 16 * 16) + 2 * LENGTH * 2 * (8 + 8)
    assert flops.layers == tokens * (3 * attention + 2 * (3 * 16 * 12))
    assert flops.statistics == 2 * tokens * (8 * (4 * 16 * 8 + 4 * 8) + 2 * 2 * 16 * 8)
    assert flops.routed == 2 * tokens * (2 * 6 * 16 * 8 + 2 * 16 * (8 + KEPT))
    assert flops.probes == 2 * 4 * 2 * PROBES * 4 * 16 * 8  # 4 pairs in each of 2 layers, both experts of a pair
    costs = 2 * 4 * 2 * (PROBES + 3 * 16) * 8**2
    assert flops.double == costs + 2 * (2 * 8**2 * tokens + 4 * 8 * 16 * 8)
    assert flops.assignment == 2 * 4 * 8**3
    pruned = flops_of(parts, architecture, numbers, work(METHODS["reap"], passes=3))
    assert (pruned.probes, pruned.assignment, pruned.layers) == (0, 0, 3 * flops.layers)
    assert pruned.statistics == 2 * 3 * tokens * 2 * (4 * 16 * 8 + 2 * 16 * 8), "of k experts alone"
    assert pruned.routed == 2 * 3 * tokens * 2 * 16 * (8 + 8), "the router; the experts' outputs are known"
    assert pruned.double == 0
    counted_alone = flops_of(parts, architecture, numbers, work(METHODS["frequency"]))
    assert (counted_alone.statistics, counted_alone.routed) == (0, flops.routed + 2 * tokens * 2 * 16 * (8 - KEPT))


def test_linear_attention_by_config():
    """Qwen3-Next's config names no layer types: every fourth layer attends to all tokens."""
    numbers = {
        "num_hidden_layers": 8, "hidden_size": 64, "num_attention_heads": 4, "linear_num_value_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 16, "full_attention_interval": 4,
    }  # fmt: skip
    per_layer = [attention_flops(numbers, layer, 128) for layer in range(9)]
    full, linear = 2 * 128 * 4 * (16 + 16), 2 * (64 * (5 * 8 + 3 * 16) + 6 * 8 * 16)
    assert per_layer == [linear] * 3 + [full] + [linear] * 3 + [full] * 2
    assert attention_flops(numbers, 0, 96) == pytest.approx(linear * 128 / 96)  # whole chunks of 64
