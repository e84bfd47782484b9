"""What is announced, against what then is there: parameters and bytes of written models, memory of a run."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import ream.estimate.needs as module
from ream.commands.work import work_of
from ream.errors import UserError
from ream.estimate.memory import Needs
from ream.estimate.needs import billions, check_fits, duration, estimate, rows
from ream.estimate.rates import Rates, measured
from ream.models.family.architecture import without_multi_token
from ream.models.inspection.headers import headers_of, open_headers
from ream.models.storage.checkpoint import Checkpoint
from ream.params import load_params
from ream.recipe.output import write_checkpoint
from tests import quantized, tiny
from tests.compress.walks import opened, random_recipe
from tests.estimate.test_flops import METHODS, work
from tests.models.families import TINY, build
from tests.models.published import write_config
from tests.subsets import some_slow

pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
KEPT = 4


def announced(checkpoint, architecture, **changes):
    """What is said of REAM to 4 experts."""
    return estimate(headers_of(checkpoint, architecture), work(METHODS["ream"], **changes))


def data_bytes(folder):
    return sum(info.bytes for info in Checkpoint(folder).tensors.values())


def check(folder, out, groups=1, drop=False, unquantised=False):
    """Write a model of which 4 experts are kept and hold the announced numbers against it."""
    checkpoint, architecture = opened(folder)
    architecture = without_multi_token(architecture) if drop else architecture
    found = announced(checkpoint, architecture, unquantised=unquantised)
    recipe = random_recipe(architecture, KEPT, groups=groups, width=architecture.width)
    parameters = write_checkpoint(checkpoint, architecture, recipe, out, unquantised=unquantised)
    assert found.parameters_before == checkpoint.parameters
    assert found.parameters_after == parameters == Checkpoint(out).parameters
    assert found.bytes_before == data_bytes(folder)
    assert found.bytes_after == data_bytes(out)
    assert (found.experts, found.moe_layers) == (8, len(architecture.moe_layers))
    return found


@pytest.mark.parametrize("family", TINY)
def test_parameters_and_bytes_are_those_of_the_written_model(family, tmp_path):
    found = check(build(family, tmp_path / "model"), tmp_path / "out", TINY[family].groups)
    assert found.multi_token == TINY[family].multi_token


@pytest.mark.parametrize(
    "family", some_slow([name for name in TINY if TINY[name].multi_token], keep=["deepseek_v3", "qwen3_next"])
)
def test_dropped_multi_token_layers_are_not_counted_in_the_output(family, tmp_path):
    found = check(build(family, tmp_path / "model"), tmp_path / "out", TINY[family].groups, drop=True)
    assert found.multi_token == 0


@pytest.mark.parametrize("unquantised", some_slow([False, True], keep=[False]), ids=["format kept", "bfloat16"])
@pytest.mark.parametrize(
    ("family", "make"),
    [
        ("qwen3_moe", quantized.fp8_checkpoint),
        ("kimi_k2", quantized.w4a16_checkpoint),
        ("gpt_oss", quantized.mxfp4_checkpoint),
    ],
    ids=["fp8", "w4a16", "mxfp4"],
)
def test_bytes_of_quantised_models_are_the_stored_ones(family, make, unquantised, tmp_path):
    values = {"hidden_size": 32, "intermediate_size": 32, "head_dim": 16} if family == "gpt_oss" else None
    make(build(family, tmp_path / "plain", values=values), tmp_path / "model")
    check(tmp_path / "model", tmp_path / "out", unquantised=unquantised)


def test_active_parameters_by_hand(tmp_path):
    """Tiny Qwen3-MoE: 3 layers, the middle one dense; 2 of 8 experts for a token, H = 16, D = 8."""
    checkpoint, architecture = opened(build("qwen3_moe", tmp_path / "model"))
    found = announced(checkpoint, architecture)
    assert found.active_before == checkpoint.parameters - 2 * (8 - 2) * 3 * 16 * 8
    assert found.active_after == found.active_before - 2 * (8 - KEPT) * 16  # the router's rows


def test_work_of_params(tmp_path):
    params = load_params(tiny.write_params(tmp_path))
    cpu = torch.device("cpu")
    sequential = work_of(params, "balanced", "ream", 4, cpu, torch.float32)
    assert (sequential.passes, sequential.sequences, sequential.tokens, sequential.batch) == (1, 8, 24, 72)
    assert (sequential.group_size, sequential.terms) == (8, ("activations", "weights"))
    pruned = work_of(params, "balanced", "reap", 4, cpu, torch.float32)
    assert (pruned.passes, pruned.merges, pruned.terms, pruned.all_tokens) == (2, False, (), 8 * 24)
    assert (pruned.sequences, pruned.dense, sequential.dense) == (4, False, True)
    assert work_of(params, "balanced", "hc-smoe", 4, cpu, torch.float32).group_size is None
    assert (sequential.refit, sequential.chooses, sequential.streams) == (None, False, 1)
    refitted = work_of(params, "balanced", "reap-refit", 4, cpu, torch.float32)
    assert (refitted.refit, refitted.streams, refitted.chooses) == ("global", 2, False)
    assert refitted.sweeps == params.method("reap-refit").refit.sweeps
    assert refitted.fitted_share == 7 / 8
    assert work_of(params, "balanced", "neurons-refit", 4, cpu, torch.float32).chooses
    released = work_of(params, "balanced", "ream-released", 4, cpu, torch.float32)
    assert (released.group_size, released.batches, sequential.batches) == (7, 1, 0)
    assert work_of(params, "balanced", "reap", 4, cpu, torch.float32).batches == 0
    short = replace(sequential, sequences=2)
    assert short.batch == 48  # no micro-batch is larger than all there is
    assert replace(sequential, batch_tokens=5).batch == 24  # or smaller than a sequence


def test_hidden_states_beyond_the_limit_are_on_disk(tmp_path):
    checkpoint, architecture = opened(build("qwen3_moe", tmp_path / "model"))
    size = 4 * 64 * 16 * 4
    memory, mapped = (announced(checkpoint, architecture, hidden_memory=limit) for limit in (size, size - 1))
    assert memory.needs.host["hidden states"] == 2 * size
    assert mapped.needs.host.get("hidden states", 0) == 0
    assert mapped.needs.disk - memory.needs.disk in (0, size)  # three files instead of two, unless the output is more
    large = announced(checkpoint, architecture, sequences=4000, hidden_memory=0)
    assert large.needs.disk - announced(checkpoint, architecture, sequences=4000).needs.disk == 1000 * size


def test_outputs_that_a_sequential_walk_keeps_take_at_most_a_gibibyte(tmp_path):
    """4 sequences of 64 tokens, 2 experts each, 16 float32 an output; none where outputs are computed again."""
    checkpoint, architecture = opened(build("qwen3_moe", tmp_path / "model"))

    def kept(method, **changes):
        needs = estimate(headers_of(checkpoint, architecture), work(METHODS[method], **changes)).needs
        return needs.host.get("routed outputs", 0)

    assert kept("reap-sequential") == 4 * 64 * 2 * 16 * 4
    assert kept("reap-sequential", sequences=400_000) == 2**30
    assert kept("ream", sampled=96) == kept("reap-sequential"), "of experts that none is merged into"
    assert [kept(name) for name in ("ream", "reap", "reap-refit", "neurons-refit")] == [0] * 4
    gpu = estimate(headers_of(checkpoint, architecture), work(METHODS["reap-sequential"], device=torch.device("cuda")))
    assert "routed outputs" not in {**gpu.needs.host, **gpu.needs.device}


def test_embedding_and_head_may_be_in_memory_together_while_they_are_written(tmp_path):
    folder = build("qwen3_moe", tmp_path / "model", values={"vocab_size": 30_000})
    checkpoint = Checkpoint(folder)
    sizes = [checkpoint.tensors[name].bytes for name in ("lm_head.weight", "model.embed_tokens.weight")]
    assert sizes == [30_000 * 16 * 4] * 2
    needed = estimate(open_headers(str(folder)), work(METHODS["reap"])).needs.host
    assert needed["writing"] == sum(sizes) + checkpoint.tensors["model.norm.weight"].bytes


def test_a_refit_keeps_targets_and_streams_and_writes_its_corrections(tmp_path):
    """Tiny Qwen3-MoE in float32: 256 tokens of 16 numbers; 2 layers of 4 kept experts of 8 · 16 weights."""
    checkpoint, architecture = opened(build("qwen3_moe", tmp_path / "model"))
    size, corrections = 4 * 64 * 16 * 4, 2 * 4 * 8 * 16 * 4

    def told(limit=1e9, **changes):
        return announced(checkpoint, architecture, hidden_memory=limit, sequences=4, **changes).needs

    plain, layer, both = told(), told(refit="layer", sweeps=9), told(refit="global", sweeps=9)
    assert [each.host["hidden states"] for each in (plain, layer, both)] == [2 * size, 3 * size, 4 * size]
    assert layer.disk - plain.disk == 2 * corrections
    assert told(size, refit="global", sweeps=9).host["hidden states"] == 2 * size  # inputs and errors fit, streams not
    fit = told(refit="layer", sweeps=9, iterations=30)
    assert fit.host["hidden states"] == 4 * size
    assert fit.disk - plain.disk == 3 * 2 * corrections
    assert told(refit="layer", sweeps=9, iterations=30, dtype=torch.bfloat16).host["hidden states"] == 5 * size // 2
    many = {"sequences": 4000, "hidden_memory": 0}
    disk = [
        announced(checkpoint, architecture, **many, **changes).needs.disk
        for changes in ({}, {"refit": "layer", "sweeps": 9}, {"refit": "global", "sweeps": 9})
    ]
    assert disk[1] - disk[0] == 1000 * size + 2 * corrections
    assert disk[2] - disk[1] == 2 * 1000 * size


def test_the_solvers_matrices_are_counted_where_they_are_the_most(tmp_path):
    """Mixtral-8x7B to 4 experts: K·D² twice, six numbers a weight for as many outputs as 6 GB have room for."""
    model = open_headers(str(write_config("Mixtral-8x7B", tmp_path)))
    gpu = {"device": torch.device("cuda"), "dtype": torch.bfloat16, "refit": "layer", "sweeps": 20}
    needs = estimate(model, work(METHODS["reap"], **gpu | {"sequential": True})).needs
    hidden, width, tokens = 4096, 14336, 128
    outputs = int(6e9 // (6 * 8 * 4 * width))
    features = tokens * (2 * 2 * width * 4 + 4 * hidden * 8)
    totals = 8 * (2 * 4 * width**2 + 6 * 4 * width * outputs)
    assert needs.device["refit"] == totals + 2 * 4 * 4 * hidden * width + features
    assert "micro-batch" not in needs.device
    chosen = estimate(model, work(METHODS["reap"], **gpu | {"sequential": True, "chooses": True})).needs
    neurons = 2 * width
    one, products = 8 * neurons**2, 8 * neurons * hidden  # of one group, whose target the refit has
    assert chosen.device["choice of neurons"] == 4 * one + 4 * products + tokens * 3 * neurons * 4


def test_on_a_gpu_the_layer_is_there_and_one_stack_of_experts_here(tmp_path):
    """Mixtral-8x7B to 4 experts in bfloat16: a layer there, beside it the compressed experts; a stack of 8 here."""
    model = open_headers(str(write_config("Mixtral-8x7B", tmp_path)))
    found = estimate(model, work(METHODS["ream"], device=torch.device("cuda"), dtype=torch.bfloat16))
    expert = 3 * 4096 * 14336
    beside = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 2 * 4096 + 8 * 4096  # attention, norms, router
    assert found.needs.device["one layer"] == 2 * (beside + (8 + KEPT) * expert)
    assert found.needs.host["one layer's experts"] == 2 * 8 * expert
    assert found.device == sum(found.needs.device.values())
    one_shot = estimate(model, work(METHODS["reap"], device=torch.device("cuda"), dtype=torch.bfloat16))
    assert one_shot.needs.device["one layer"] == 2 * (beside + 8 * expert)


def test_refused_with_what_to_lower(tmp_path, monkeypatch):
    checkpoint, architecture = opened(build("qwen3_moe", tmp_path / "model"))
    found = announced(checkpoint, architecture)
    host = {"libraries": 10**9, "hidden states": 5 * 10**9, "micro-batch": 3 * 10**9, "one layer": 10**7}
    large = replace(found, needs=Needs(host, {}, 10**9, 0))
    monkeypatch.setattr(module, "free_memory", lambda: 8 * 10**9)
    with pytest.raises(UserError) as caught:
        check_fits(large, tmp_path)
    assert str(caught.value) == (
        "memory: about 9.01 GB is needed (hidden states 5.00 GB, micro-batch 3.00 GB, libraries 1.00 GB), but 8.00 GB "
        "is free; lower compute.hidden_memory_gb or compute.batch_tokens or compute.dtype (bfloat16 takes half)"
    )
    monkeypatch.setattr(module, "free_memory", lambda: 10 * 10**9)
    monkeypatch.setattr(module, "free_disk", lambda folder: 10**9 - 4096)
    with pytest.raises(UserError, match=r"1\.00 GB of disk is needed .* another folder .* lower calibration\.seq"):
        check_fits(large, tmp_path / "out")
    with pytest.raises(UserError, match=r"/out: about .* or lower the number of experts$"):
        check_fits(replace(large, needs=replace(large.needs, walk_disk=0, output_disk=10**9)), tmp_path / "out")
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "hidden").write_bytes(bytes(5000))
    check_fits(large, tmp_path / "out", tmp_path / "begun")  # what an interrupted run has written counts
    monkeypatch.setattr(module, "free_device", lambda device: 10**6)
    with pytest.raises(UserError, match=r"memory of cpu: about 2\.00 GB is needed \(one layer 2\.00 GB\)"):
        check_fits(replace(large, needs=Needs({}, {"one layer": 2 * 10**9}, 0, 0)), tmp_path)


def test_a_time_is_the_arithmetic_at_the_measured_rates(tmp_path):
    checkpoint, architecture = opened(build("qwen3_moe", tmp_path / "model"))
    found = announced(checkpoint, architecture)
    flops = found.flops
    assert found.seconds(Rates(1e6, 1e5, 1e4)) == pytest.approx(
        (flops.layers + flops.statistics + flops.routed + flops.probes) / 1e6
        + flops.double / 1e5
        + flops.assignment / 1e4
    )
    shown = rows(found, Rates(2e12, 1e12, 1e9))
    assert "2,000 GFLOP/s of float32 and 1,000 of float64" in shown["time"]
    assert shown["experts"] == "8 -> 4 per layer"


def test_rates_of_this_machine():
    rates = measured(torch.device("cpu"), torch.float32)
    assert 1e8 < rates.double <= 2 * rates.compute < 1e16
    assert 1e6 < rates.assignment < 1e12


def test_numbers_for_people():
    assert [billions(n) for n in (30_532_122_624, 5_460_000, 1_026_408_232_448)] == ["30.5 B", "5.46 M", "1,026 B"]
    assert [duration(s) for s in (0.25, 119, 120, 7200, 3 * 86400)] == [
        "0.2 seconds", "119.0 seconds", "2.0 minutes", "2.0 hours", "3.0 days",
    ]  # fmt: skip


# The kernel's high-water mark of this process alone: getrusage would give at least the parent's, from before the exec.
MEASURED = """
import json, sys
from pathlib import Path
sys.argv = ["ream", *json.loads(sys.argv[1])]
from ream.commands import cli
try:
    cli.main()
except SystemExit as end:
    assert not end.code
lines = Path("/proc/self/status").read_text().splitlines()
print("\\n" + json.dumps(1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("method", "limit"),
    [("ream", "8"), ("ream", "0"), ("reap", "8"), ("neurons-refit", "8"), ("neurons-fit", "8")],
    ids=["ream", "ream, hidden states in files", "reap", "neurons-refit", "neurons-fit"],
)
def test_memory_of_a_run(method, limit, tmp_path):
    """A Qwen3-MoE of 0.4 GB: the peak of the process is at most what is announced, and at least half.

    Of a fit, whose memory does not depend on how long it goes on: two passes, of experts a quarter as wide.
    """
    width = 128 if method == "neurons-fit" else 512
    values = {
        "hidden_size": 512, "moe_intermediate_size": width, "num_experts": 64, "num_experts_per_tok": 4,
        "num_hidden_layers": 2, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2,
        "head_dim": 64, "mlp_only_layers": [], "max_position_embeddings": 512,
    }  # fmt: skip
    folder = build("qwen3_moe", tmp_path / "model", values=values)
    tiny.write_tokenizer(folder)
    params = tiny.write_params(
        tmp_path / "p", sequences=16, tokens=512, batch_tokens=2048, probes=2048, documents_each=16
    )
    texts = tmp_path / "long"
    texts.mkdir()
    tree = params.read_text()
    for name in ("a", "b"):
        rows_of = [json.dumps({"text": "the words of a long text " * 40}) for _ in range(16)]
        (texts / f"{name}.jsonl").write_text("\n".join(rows_of))
        tree = tree.replace(str(tmp_path / "p" / f"{name}.jsonl"), str(texts / f"{name}.jsonl"))
    params.write_text(tree.replace("iterations: 12", "iterations: 2"))
    settings = load_params(params)
    found = estimate(
        open_headers(str(folder)),
        replace(
            work_of(settings, "balanced", method, 32, torch.device("cpu"), torch.float32),
            hidden_memory=float(limit) * 1e9,
        ),
    )
    arguments = [
        "compress", str(folder), str(tmp_path / "out"), "--experts", "32", "--method", method, "--params", str(params),
        "--group-size", "32", "--set", f"compute.hidden_memory_gb={limit}", "--set", "compute.threads=1",
    ]  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps(arguments)], capture_output=True, text=True, env=dict(os.environ)
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    peak = json.loads(answer.stdout.splitlines()[-1])
    print(
        f"{method}, limit {limit}: announced {found.host / 1e9:.2f} GB, measured {peak / 1e9:.2f} GB", found.needs.host
    )
    assert found.host / 2 <= peak <= found.host
