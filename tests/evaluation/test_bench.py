"""Models that the stage evaluate gives to a backend that reads checkpoints."""

import json

import pytest

from ream.evaluation import harness
from ream.evaluation.bench import Bench
from ream.models.inspection.manifest import manifest_of
from ream.params import parse_params
from ream.workspace.layout import Workspace
from ream.workspace.original import open_original
from tests.compress.walks import random_recipe
from tests.evaluation.test_harness import Lookup, rows
from tests.tiny import EXPERTS, HIDDEN, WIDTH

KEPT = 3


@pytest.fixture
def bench(checkpoint, number_items, tmp_path, monkeypatch, evaluation):
    tree = {
        "model": {"path": str(checkpoint)},
        "calibration": {"sequences": 4, "tokens": 32},
        "sources": {"math": {"kind": "builtin", "name": "math"}},
        "mixes": {"only": {"math": 1}},
        "methods": {"reap": {"saliency": "reap", "grouping": "pruning"}},
        "suites": {"small": {"gen": ["demo_arithmetic"]}},
        "evaluation": evaluation.model_dump() | {"suite": "small", "backend": "vllm"},
        "run": {"sources": ["math"], "mixes": ["only"], "one_shot": ["reap"], "sequential": [], "experts": [KEPT]},
    }
    workspace = Workspace(tmp_path / "artifacts")
    manifest_of(str(checkpoint)).save(workspace.manifest)
    workspace.items.symlink_to(number_items)
    monkeypatch.setattr(harness, "check_backend", lambda evaluation: None)  # as if vLLM were installed
    original = open_original(workspace)
    return Bench(
        parse_params(tree, "test"),
        workspace.windows,
        original.checkpoint,
        original.architecture,
        original.manifest.digest,
        workspace.scratch,
    )


def test_vllm_reads_a_checkpoint_that_is_gone_afterwards(bench, checkpoint, number_items, monkeypatch):
    known = {row["context"]: f" {row['answer']}" for row in rows(number_items, "demo_arithmetic")}
    seen = []

    def stand_in(backend, model, tokenizer, _):
        seen.append((model, json.loads((model / "config.json").read_text())["num_experts"], tokenizer))
        return Lookup(known)

    monkeypatch.setattr(harness, "language_model", stand_in)
    recipe = random_recipe(bench.architecture, KEPT, digest=bench.digest)
    cell, original = bench.score(recipe), bench.score(None)
    (folder, kept, tokenizer), (given, all_experts, _) = seen
    assert (kept, tokenizer, folder.exists()) == (KEPT, None, False)
    assert folder.is_relative_to(bench.scratch)
    assert [path.name for path in bench.scratch.iterdir()] == ["lock"]
    assert (given, all_experts) == (checkpoint, bench.architecture.experts)
    assert cell.gen == original.gen == 100
    expert = 3 * HIDDEN * WIDTH + HIDDEN  # its projections and its row of the router
    removed = len(bench.architecture.moe_layers) * (EXPERTS - KEPT) * expert
    assert original.parameters - cell.parameters == removed
    assert original.bytes - cell.bytes == 4 * removed  # float32
