"""The speed benchmark on a very small layer: what it counts, and what it writes."""

import json
from dataclasses import replace

import pytest

from benchmarks import speed
from benchmarks.speed_shapes import SHAPES
from tests.second_device import device, on_device

NUMBERS = {
    "hidden_size": 16, "intermediate_size": 12, "moe_intermediate_size": 8, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 8, "num_experts": 8, "num_experts_per_tok": 2,
}  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    """A shape of 8 experts, of which 4 are kept, and short products."""
    shape = replace(SHAPES["demo"], config=SHAPES["demo"].config | NUMBERS, kept=4)
    monkeypatch.setitem(speed.SHAPES, "tiny", shape)
    monkeypatch.setattr("benchmarks.speed_clock.ENOUGH", 1e5)
    return shape


def run(tmp_path, *extra):
    out = tmp_path / "speed.json"
    speed.main(["--shape", "tiny", "--device", "cpu", "--tokens", "32", "--seconds", "0.01", "--side", "16",
                "--out", str(out), *extra])  # fmt: skip
    return json.loads(out.read_text())


def test_every_part_is_measured_and_projected_to_the_whole(small, tmp_path, capsys):
    result = run(tmp_path, "--experts", "4", "--pairs", "1")
    parts, T, H, D, N, k = result["parts"], 32, 16, 8, 4, 2
    assert set(speed.PARTS) < set(parts)
    assert {"reading", "writing", "assignment", "outputs of the sums"} < set(parts)
    assert parts["dense statistics"]["flops"] == T * (N * (4 * H * D + 4 * D) + k * 2 * H * D)
    assert parts["of these, routed norms"]["flops"] == T * k * 2 * H * D
    projections = 2 * (16 * 16 + 16 * 8)  # of q and o, k and v: two heads and one of 8
    assert parts["attention"]["flops"] == T * (2 * projections + 2 * 32 * 2 * (2 * 8))
    assert parts["reading"]["gigabytes"] * 1e9 == N * 3 * H * D * 2
    for name, part in parts.items():
        assert part["seconds"] > 0
        assert (part["share"] is None) == (part["flops"] == 0), name
    # Half of the experts and 32 of 3072 · 512 tokens were measured.
    full = 3072 * 512 / 32
    dense, norms = parts["dense statistics"], parts["of these, routed norms"]
    assert norms["projected"] == pytest.approx(full * norms["seconds"])
    # A token selects k experts however many there are, so its norms do not double.
    rest = dense["seconds"] - norms["seconds"]
    assert dense["projected"] == pytest.approx(full * (2 * rest + norms["seconds"]))
    assert parts["attention"]["projected"] == pytest.approx(full * parts["attention"]["seconds"])
    assert parts["reading"]["projected"] == pytest.approx(2 * parts["reading"]["seconds"])
    counted = sum(part["projected"] for name, part in parts.items() if name not in speed.CONTAINED)
    assert result["projected_model_seconds"] == pytest.approx(4 * counted)
    assert "dense statistics" in capsys.readouterr().out


def test_parts_can_be_chosen(small, tmp_path):
    result = run(tmp_path, "--parts", "similarity", "--experts", "8")
    assert set(result["parts"]) == {"reading", "writing", "similarity"}


def test_routed_norms_are_clocked_inside_the_statistics(small, tmp_path):
    parts = run(tmp_path, "--parts", "dense statistics")["parts"]
    assert 0 < parts["of these, routed norms"]["seconds"] < 50 * parts["dense statistics"]["seconds"]


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--tokens", "700"], "--tokens 700"), (["--experts", "3"], "--experts 3"), (["--shape", "huge"], "huge")],
)
def test_bad_options_are_refused(options, message, capsys):
    with pytest.raises(SystemExit):
        speed.parse(options)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_layers_that_the_product_knows(name, tmp_path):
    from ream.models.family.architecture import architecture_of
    from ream.models.inspection.planned import PlannedCheckpoint

    (tmp_path / "config.json").write_text(json.dumps(SHAPES[name].config | {"dtype": "bfloat16"}))
    architecture = architecture_of(PlannedCheckpoint(tmp_path))
    config = SHAPES[name].config
    assert architecture.moe_layers == (0,)
    assert (architecture.width, architecture.top_k) == (config["moe_intermediate_size"], config["num_experts_per_tok"])
    assert SHAPES[name].kept < architecture.experts


def test_it_runs_on_another_device(small, tmp_path, monkeypatch):
    with on_device(monkeypatch) as running:
        monkeypatch.setattr(speed, "device_of", lambda name: device())
        parts = run(tmp_path, "--dtype", "bfloat16", "--experts", "4", "--pairs", "1")["parts"]
    assert set(speed.PARTS) < set(parts)
    assert running.operations > 1000
