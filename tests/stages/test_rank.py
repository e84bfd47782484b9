"""The stage rank against the models that transformers loads whole, in float64."""

import dataclasses
import json

import pytest
import torch

from ream.calibration.corpus import write_corpus
from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.evaluation.fidelity_card import shown
from ream.evaluation.fidelity_records import read_fidelity
from ream.evaluation.rank_records import read_ranks
from ream.models.inspection.manifest import manifest_of
from ream.params import parse_params
from ream.params.run import Export
from ream.recipe.load import load_model
from ream.recipe.recipe_file import load_recipe, save_recipe
from ream.stages import fidelity, merge, rank
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import asked_facts, open_original
from tests.compress.walks import random_recipe, sequences

KEPT = (6, 3)
EXPORTS = {"small": Export(mix="only", method="reap", experts=KEPT[1])}


def params_of(model, memory=8.0):
    return parse_params(
        {
            "model": {"path": str(model)},
            "compute": {"device": "cpu", "dtype": "float32", "batch_tokens": 40, "hidden_memory_gb": memory},
            "calibration": {"sequences": 4, "tokens": 32},
            "sources": {name: {"kind": "builtin", "name": name} for name in ("math", "code")},
            "mixes": {"only": {"math": 1}},
            "methods": {"reap": {"saliency": "reap", "grouping": "pruning"}},
            "suites": {"none": {}},
            "evaluation": {"suite": "none"},
            "run": {"sources": ["math", "code"], "mixes": ["only"], "one_shot": ["reap"], "sequential": [],
                    "experts": list(KEPT), "rank": ["only"]},
        }
    )  # fmt: skip


TEXTS = {"math": [*sequences(5, seed=1), [7]], "code": sequences(4, seed=2)}


@pytest.fixture
def prepared(mixed_depth, tmp_path):
    """(params, workspace) with held-out sequences and recipes by lot."""
    params, workspace = params_of(mixed_depth), Workspace(tmp_path / "artifacts")
    manifest = manifest_of(str(mixed_depth))
    manifest.save(workspace.manifest)
    for source, rows in TEXTS.items():
        write_corpus(workspace.held_out(source), [(source, ids) for ids in rows], {})
    architecture = open_original(workspace).architecture
    for kept in KEPT:
        facts = asked_facts(params, manifest, "only", "reap", kept)
        recipe = random_recipe(architecture, kept, seed=kept, digest=manifest.digest)
        save_recipe(workspace.recipe("only", "reap", kept), Recipe(recipe.layers, recipe.facts | facts))
    return params, workspace


@torch.no_grad()
def by_whole_models(workspace, recipe, rows):
    """Mean KL, agreement in percent and both losses over the predicted tokens of some sequences, in float64."""
    original = open_original(workspace)
    models = [
        load_model(original.checkpoint, original.architecture, each, torch.device("cpu"), torch.float64)
        for each in (None, recipe)
    ]
    for model in models:
        model.set_experts_implementation("eager")  # others cannot compute in float64
    kl, same, losses, tokens = 0.0, 0, [0.0, 0.0], 0
    for ids in rows:
        logs = [model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1) for model in models]
        kl += (logs[0].exp() * (logs[0] - logs[1])).sum().item()
        same += (logs[0].argmax(-1) == logs[1].argmax(-1)).sum().item()
        for place, log in enumerate(logs):
            losses[place] -= sum(log[at, token].item() for at, token in enumerate(ids[1:]))
        tokens += len(ids) - 1
    return kl / tokens, 100 * same / tokens, losses[1] / tokens, losses[0] / tokens, tokens


def test_fidelity_is_that_of_the_whole_models(prepared):
    params, workspace = prepared
    line = rank.run(params, workspace, StageOptions(mix="only"))
    assert line.startswith("rank only: 2 models on 10 sequences; mean rank of the original")
    cells = read_ranks(workspace.rank("only")).cells
    assert [cell.experts for cell in cells] == list(KEPT)
    for cell in cells:
        recipe = load_recipe(workspace.recipe("only", "reap", cell.experts))
        for source, rows in TEXTS.items():
            kl, same, loss, original_loss, tokens = by_whole_models(workspace, recipe, rows)
            found = cell.fidelity.sources[source]
            assert found.kl.value == pytest.approx(kl, rel=1e-3)
            assert found.top_1.value == pytest.approx(same)
            assert (found.loss, found.original_loss) == pytest.approx((loss, original_loss), rel=1e-4)
            assert (found.tokens, found.sequences) == (tokens, len([ids for ids in rows if len(ids) > 1]))
            assert kl > 0.01
    assert cells[0].fidelity.mean.kl.value < cells[1].fidelity.mean.kl.value


def test_little_memory_and_a_file_of_an_earlier_version(prepared, mixed_depth):
    params, workspace = prepared
    rank.run(params, workspace, StageOptions(mix="only"))
    expected = workspace.rank("only").read_bytes()
    rank.run(params_of(mixed_depth, memory=0.0), workspace, StageOptions(mix="only"))
    assert workspace.rank("only").read_bytes() == expected
    assert not list(workspace.scratch.glob("run-*"))
    tree = json.loads(expected)
    for cell in tree["cells"]:
        del cell["fidelity"]
    workspace.rank("only").write_text(json.dumps(tree))
    assert [cell.fidelity for cell in read_ranks(workspace.rank("only")).cells] == [None, None]


def test_an_export_has_the_fidelity_of_the_rank_in_its_card(prepared):
    params, workspace = prepared
    params = params.model_copy(update={"exports": EXPORTS})
    rank.run(params, workspace, StageOptions(mix="only"))
    line = fidelity.run(params, workspace, StageOptions(export="small"))
    expected = read_ranks(workspace.rank("only")).cells[1].fidelity
    assert read_fidelity(workspace.fidelity("small")) == expected
    assert line == f"fidelity small: KL from the original {expected.mean.kl.value:.4f} nats per token, on 10 sequences"
    workspace = dataclasses.replace(workspace, models=workspace.root.parent / "models")
    merge.run(params, workspace, StageOptions(export="small"))
    card = (workspace.export("small") / "README.md").read_text()
    assert f"| math | {shown(expected.sources['math'].kl, 4)} |" in card
    assert "on sequences of up to 32 tokens" in card


def test_an_export_without_held_out_text_has_no_fidelity(prepared):
    params, workspace = prepared
    params = params.model_copy(update={"exports": EXPORTS})
    for source in TEXTS:
        write_corpus(workspace.held_out(source), [], {})
    assert "no sequence is held out" in fidelity.run(params, workspace, StageOptions(export="small"))
    assert read_fidelity(workspace.fidelity("small")) is None
    workspace.fidelity("small").write_text("[1]")
    with pytest.raises(UserError, match=r"small\.json is not a fidelity: .*; run the stage fidelity again"):
        read_fidelity(workspace.fidelity("small"))
