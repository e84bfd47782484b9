"""The backend layers gives what the backend hf gives, one layer in memory at a time, also after a kill."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance

from ream import params
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe
from ream.errors import UserError
from ream.evaluation.bench import Bench
from ream.evaluation.by_layers import Walked, Walker
from ream.evaluation.harness import Harness
from ream.evaluation.layers_lm import LayersLM
from ream.evaluation.shared_context import SharedContextLM
from ream.evaluation.suite_checks import check_suite
from ream.evaluation.windows import PADDING, write_windows
from ream.models.decoder import Decoder
from ream.models.family.architecture import architecture_of, without_multi_token
from ream.models.head import Head
from ream.models.inspection.manifest import manifest_of
from ream.models.storage.checkpoint import Checkpoint
from ream.params import parse_params
from ream.recipe.apply import compressed_layers
from ream.recipe.load import load_model, weightless_model
from ream.recipe.recipe_file import save_recipe
from ream.stages import evaluate, items
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import asked_facts, open_original
from tests.compress.walks import opened, random_recipe
from tests.evaluation.test_shared_context import requests, values
from tests.models import any_moe, families
from tests.subsets import some_slow
from tests.tiny import ROOT, VOCABULARY

CPU = torch.device("cpu")
ENTRIES = ("deepseek_v3", "gpt_oss", "qwen3_next")
DERIVED = ("glm5_next", "granitemoe")  # several streams; a factor on the logits
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")


def walker_of(folder, tmp_path, recipe=None, **changes):
    checkpoint = Checkpoint(folder)
    architecture = without_multi_token(architecture_of(checkpoint))
    decoder = Decoder(checkpoint, architecture, CPU, torch.float32)
    blocks = None if recipe is None else compressed_layers(checkpoint, architecture, recipe)
    given = {"batch_tokens": 64, "memory": 1e9, "scratch": tmp_path, "name": "test"}
    models = [Walked(blocks, changes.pop("state", None), changes.pop("facts", {}))]
    return Walker(decoder, Head(decoder), models, **(given | changes))


def answers(walker, model, tokenizer, asked, max_length=None):
    """What the backend answers to requests: values, and whether they are greedy."""
    lm = LayersLM(model, tokenizer, max_length, None, {})
    lm.loglikelihood(asked, disable_tqdm=True)
    queries = list(lm.asked)
    lm.answers = dict(zip(queries, walker.answers(queries)[0], strict=True))
    return values(lm.loglikelihood(asked, disable_tqdm=True))


@pytest.mark.parametrize("family", some_slow([*ENTRIES, *DERIVED], keep=["gpt_oss", "qwen3_next", "granitemoe"]))
def test_log_likelihoods_are_those_of_lm_evals_own_path(family, tokenizer, rng, tmp_path):
    folder = (families if family in ENTRIES else any_moe).build(family, tmp_path / family)
    walker = walker_of(folder, tmp_path)
    checkpoint, architecture = walker.decoder.checkpoint, walker.decoder.architecture
    asked = requests(rng)
    found, greedy = answers(walker, weightless_model(checkpoint, architecture, None), tokenizer, asked)
    model = load_model(checkpoint, architecture, None, CPU, torch.float32)
    for config in (model.config, model.config.get_text_config()):
        config.use_cache = False  # which fails where no layer has plain attention
    lm = SharedContextLM(model, tokenizer, 8, None)
    lm._shares = False
    expected, expected_greedy = values(lm.loglikelihood(asked, disable_tqdm=True))
    assert found == pytest.approx(expected, abs=1e-4)
    assert greedy == expected_greedy
    assert np.std(expected) > 1


def test_greedy_answers_rolling_texts_and_cut_contexts(checkpoint, tokenizer, rng, tmp_path):
    read, architecture = opened(checkpoint)
    model, walker = load_model(read, architecture, None, CPU, torch.float32), walker_of(checkpoint, tmp_path)
    empty = weightless_model(read, architecture, None)
    ids = torch.tensor([tokenizer.encode("abcdef")])
    best = tokenizer.decode(model(ids).logits[0, -1].argmax())
    asked = [*requests(rng, contexts=3), Instance("loglikelihood", {}, ("abcdef", best), 0)]
    lm = SharedContextLM(model, tokenizer, 8, 12)
    lm._shares = False
    expected, expected_greedy = values(lm.loglikelihood(asked, disable_tqdm=True))
    found, greedy = answers(walker, empty, tokenizer, asked, max_length=12)
    assert found == pytest.approx(expected, abs=1e-4)
    assert greedy == expected_greedy
    assert any(greedy)
    rolling = [Instance("loglikelihood_rolling", {}, ("abcdefghijklmnopqrstuvwxyz" * 2,), 0)]
    layers = LayersLM(empty, tokenizer, 12, None, {})
    layers.loglikelihood_rolling(rolling, disable_tqdm=True)
    layers.answers = dict(zip(layers.asked, walker.answers(list(layers.asked))[0], strict=True))
    assert layers.loglikelihood_rolling(rolling, disable_tqdm=True) == pytest.approx(
        lm.loglikelihood_rolling(rolling, disable_tqdm=True), abs=1e-3
    )


def test_a_context_of_one_token_choices_goes_through_the_layers_once(checkpoint, tokenizer, tmp_path):
    read, architecture = opened(checkpoint)
    walker, empty = walker_of(checkpoint, tmp_path), weightless_model(read, architecture, None)
    seen, embed = [], walker.decoder.embed
    walker.decoder.embed = lambda ids, table: seen.append(ids.numel()) or embed(ids, table)
    asked = [Instance("loglikelihood", {}, ("question", choice), 0) for choice in "ABCD"]
    answers(walker, empty, tokenizer, asked)
    assert sum(seen) == len("question")


@pytest.mark.parametrize("memory", [1e9, 0])
def test_a_killed_walk_goes_on_and_answers_the_same_bytes(checkpoint, tokenizer, rng, tmp_path, memory, monkeypatch):
    read, architecture = opened(checkpoint)
    recipe, asked = random_recipe(architecture, 4), requests(rng)
    empty = weightless_model(read, architecture, recipe)
    whole = answers(walker_of(checkpoint, tmp_path, recipe, memory=memory), empty, tokenizer, asked)
    state, layer, read_layers = tmp_path / "state", Decoder.layer, []

    def failing(self, index):
        read_layers.append(index)
        if len(read_layers) == 3:
            raise KeyboardInterrupt
        return layer(self, index)

    monkeypatch.setattr(Decoder, "layer", failing)
    walker = walker_of(checkpoint, tmp_path, recipe, memory=memory, state=state)
    with pytest.raises(KeyboardInterrupt):
        answers(walker, empty, tokenizer, asked)
    walker = walker_of(checkpoint, tmp_path, recipe, memory=memory, state=state)
    assert answers(walker, empty, tokenizer, asked) == whole
    assert read_layers == [0, 1, 2, 2]
    assert answers(walker, empty, tokenizer, asked) == whole, "killed after the walk, before the results were written"
    assert read_layers == [0, 1, 2, 2]
    another = replace(walker.models[0], facts={"model": "another"})
    assert answers(replace(walker, models=[another]), empty, tokenizer, asked) == whole
    assert read_layers == [0, 1, 2, 2, 0, 1, 2]


@pytest.mark.parametrize("family", ["ernie4_5_moe", "llama4", "qwen3_5_moe", "step3p7"])
def test_parameters_are_counted_without_weights(family, tmp_path):
    folder = (any_moe if family in any_moe.TYPES else families).build(family, tmp_path / family)
    checkpoint = Checkpoint(folder)
    architecture = without_multi_token(architecture_of(checkpoint))
    empty = weightless_model(checkpoint, architecture, None)
    model = load_model(checkpoint, architecture, None, CPU, torch.float32)
    assert sum(each.numel() for each in empty.parameters()) == sum(each.numel() for each in model.parameters())


def tree_of(model, backend, suite, **more):
    return {
        "model": {"path": str(model)},
        "compute": {"device": "cpu", "dtype": "float32", "threads": 1, "batch_tokens": 300},
        "calibration": {"sequences": 4, "tokens": 32},
        "sources": {"math": {"kind": "builtin", "name": "math"}},
        "mixes": {"only": {"math": 1}},
        "methods": {"reap": {"saliency": "reap", "grouping": "pruning"}},
        "suites": {"small": suite},
        "evaluation": {"suite": "small", "backend": backend, "include": str(ROOT / "data" / "tasks")},
        "run": {"sources": ["math"], "mixes": ["only"], "one_shot": ["reap"], "sequential": [], "experts": [4]},
        **more,
    }


def bench_of(model, folder, choice_items, backend):
    suite = {"mc": ["demo_prose"], "loss": ["math", "code"]}
    workspace = Workspace(folder)
    manifest_of(str(model)).save(workspace.manifest)
    shutil.copytree(choice_items, workspace.items, dirs_exist_ok=True)
    windows = np.random.default_rng(2).integers(VOCABULARY, size=(5, 20)).astype(np.int32)
    windows[-1, 7:] = PADDING
    windows[-2, 1:] = PADDING
    write_windows(workspace.windows, {"math": windows, "code": windows[:3]})
    original = open_original(workspace)
    opened_model = original.checkpoint, original.architecture, original.manifest.digest
    return Bench(
        parse_params(tree_of(model, backend, suite)), workspace.windows, *opened_model, workspace.scratch
    ), workspace


def test_a_bench_scores_a_recipe_and_the_original_alike_with_both_backends(checkpoint, choice_items, tmp_path):
    cells = {}
    for backend in ("hf", "layers"):
        bench, workspace = bench_of(checkpoint, tmp_path / backend, choice_items[0], backend)
        recipe = random_recipe(bench.architecture, 4, digest=bench.digest)
        cells[backend] = [bench.score(each, workspace.root / "state" / str(n)) for n, each in enumerate((None, recipe))]
    for hf, layers in zip(*cells.values(), strict=True):
        assert layers.tasks["demo_prose"].value == hf.tasks["demo_prose"].value
        assert layers.tasks["demo_prose"].stderr == hf.tasks["demo_prose"].stderr
        assert (layers.parameters, layers.bytes, layers.mc) == (hf.parameters, hf.bytes, hf.mc)
        for source, loss in hf.loss.items():
            assert layers.loss[source].loss == pytest.approx(loss.loss, abs=1e-5)
            assert layers.loss[source].stderr == pytest.approx(loss.stderr, abs=1e-5)
            assert (layers.loss[source].tokens, layers.loss[source].sequences) == (loss.tokens, loss.sequences)
    assert cells["hf"][0].mean_loss != cells["hf"][1].mean_loss


def pruned(architecture, kept, digest, facts):
    """The recipe that keeps the first experts of every layer."""
    group = np.full(architecture.experts, -1)
    group[:kept] = np.arange(kept)
    layers = {
        index: LayerRecipe(
            Groups(np.arange(kept), group), (group >= 0).astype(float), np.ones(architecture.experts), {}
        )
        for index in architecture.moe_layers
    }
    return Recipe(layers, {"digest": digest, "ream": "0", **facts})


@pytest.mark.slow
def test_two_recipes_of_the_demo_model_score_alike_with_both_backends(tmp_path):
    """On its own tasks and text, through the stages."""
    suite = {"mc": ["demo_result", "demo_word_problem"], "loss": ["math"], "loss_sequences": 2, "loss_tokens": 48,
             "limit": 4}  # fmt: skip
    model, found = ROOT / "data" / "demo-model", {}
    for backend in ("hf", "layers"):
        tree = tree_of(model, backend, suite)
        tree["run"]["experts"] = [16, 8]
        settings, workspace = parse_params(tree), Workspace(tmp_path / backend)
        manifest = manifest_of(str(model))
        manifest.save(workspace.manifest)
        items.run(settings, workspace, StageOptions())
        architecture = open_original(workspace).architecture
        for kept in (16, 8):
            facts = asked_facts(settings, manifest, "only", "reap", kept)
            save_recipe(workspace.recipe("only", "reap", kept), pruned(architecture, kept, manifest.digest, facts))
            evaluate.run(settings, workspace, StageOptions(mix="only", method="reap", experts=kept))
            path = workspace.evaluation("only", "reap", kept)
            found[backend, kept] = json.loads(path.read_text())["cells"][0]
            assert not workspace.state("evaluate", "only", "reap", str(kept)).exists()
    for kept in (16, 8):
        hf, layers = found["hf", kept], found["layers", kept]
        assert layers["loss"]["math"]["loss"] == pytest.approx(hf["loss"]["math"]["loss"], abs=1e-4)
        assert layers["parameters"] == hf["parameters"]
        for task, score in hf["tasks"].items():
            assert layers["tasks"][task]["value"] == score["value"]
            assert layers["tasks"][task]["settings"]["backend"] == "layers"
    assert found["hf", 16]["loss"] != found["hf", 8]["loss"]


def test_models_side_by_side_answer_as_each_by_itself_and_read_each_layer_once(
    checkpoint, tokenizer, rng, tmp_path, monkeypatch
):
    read, architecture = opened(checkpoint)
    recipes, asked = [None, random_recipe(architecture, 4), random_recipe(architecture, 3)], requests(rng)
    empty = weightless_model(read, architecture, None)
    lm = LayersLM(empty, tokenizer, None, None, {})
    lm.loglikelihood(asked, disable_tqdm=True)
    queries = list(lm.asked)
    alone = [walker_of(checkpoint, tmp_path, recipe).answers(queries)[0] for recipe in recipes]
    read_layers, layer = [], Decoder.layer

    def failing(self, index):
        read_layers.append(index)
        if len(read_layers) == 3:
            raise KeyboardInterrupt
        return layer(self, index)

    monkeypatch.setattr(Decoder, "layer", failing)
    for memory in (1e9, 0):
        read_layers.clear()
        walker = walker_of(checkpoint, tmp_path, memory=memory)
        blocks = [None if each is None else compressed_layers(read, architecture, each) for each in recipes]
        models = [Walked(each, tmp_path / f"{memory}-{number}") for number, each in enumerate(blocks)]
        walker = replace(walker, models=models)
        with pytest.raises(KeyboardInterrupt):
            walker.answers(queries)
        assert walker.answers(queries) == alone
        assert read_layers == [0, 1, 2, 2]
    assert len({answers[0] for answers in alone}) == 3


def graph_of(folder, model, cells, backend="layers", **suite):
    """Settings, workspace and manifest of a graph with recipes of the mix ``only``."""
    tree = tree_of(model, backend, {"mc": ["demo_prose"], "loss": ["math"]} | suite)
    tree["run"]["experts"] = cells
    settings, workspace = parse_params(tree), Workspace(folder)
    manifest = manifest_of(str(model))
    manifest.save(workspace.manifest)
    architecture = open_original(workspace).architecture
    for kept in cells:
        facts = asked_facts(settings, manifest, "only", "reap", kept)
        save_recipe(workspace.recipe("only", "reap", kept), pruned(architecture, kept, manifest.digest, facts))
    return settings, workspace


def test_a_stage_takes_the_other_models_of_its_mix_along(checkpoint, choice_items, tmp_path, monkeypatch):
    windows = np.random.default_rng(2).integers(VOCABULARY, size=(3, 20)).astype(np.int32)
    found, layers, layer = {}, [], Decoder.layer
    monkeypatch.setattr(Decoder, "layer", lambda self, index: layers.append(index) or layer(self, index))
    for order in ((4, 6), (6, 4)):
        settings, workspace = graph_of(tmp_path / str(order[0]), checkpoint, [4, 6])
        shutil.copytree(choice_items[0], workspace.items)
        write_windows(workspace.windows, {"math": windows})
        layers.clear()
        for kept in order:
            line = evaluate.run(settings, workspace, StageOptions(mix="only", method="reap", experts=kept))
            paths = workspace.evaluation("only", "reap", kept), workspace.answers("only", "reap", kept)
            found[order, kept] = [path.read_bytes() for path in paths]
        assert line.endswith("walked side by side with another model of the mix")
        assert layers == [0, 1, 2]
        assert [path.name for path in workspace.states.glob("evaluate-only*")] == []
    for kept in (4, 6):
        assert found[(4, 6), kept] == found[(6, 4), kept]
    assert found[(4, 6), 4] != found[(4, 6), 6]


def test_kept_scores_of_another_text_are_not_taken(checkpoint, choice_items, tmp_path, monkeypatch):
    settings, workspace = graph_of(tmp_path / "graph", checkpoint, [4, 6])
    shutil.copytree(choice_items[0], workspace.items)
    drawn = np.random.default_rng(2).integers(VOCABULARY, size=(2, 3, 20)).astype(np.int32)
    layers, layer = [], Decoder.layer
    monkeypatch.setattr(Decoder, "layer", lambda self, index: layers.append(index) or layer(self, index))
    for windows, kept in zip(drawn, (4, 6), strict=True):
        write_windows(workspace.windows, {"math": windows})
        evaluate.run(settings, workspace, StageOptions(mix="only", method="reap", experts=kept))
    assert layers == [0, 1, 2, 0, 1, 2]


def test_generation_is_refused_before_anything_runs(number_items):
    evaluation = params.Evaluation(suite="x", backend="layers", include=str(ROOT / "data" / "tasks"))
    with pytest.raises(UserError, match=r"'demo_arithmetic' generates text.*layers cannot do.*endpoint or hf or vllm"):
        Harness(params.Suite(mc=["demo_result"], gen=["demo_arithmetic"]), evaluation, number_items)
    with pytest.raises(UserError, match="'gsm8k' generates text"):
        check_suite(params.Suite(gen=["gsm8k"]), evaluation)
    Harness(params.Suite(mc=["demo_result"]), evaluation, number_items)


def test_a_task_that_turns_out_to_generate_is_refused_when_it_is_loaded(number_items, monkeypatch):
    evaluation = params.Evaluation(suite="x", backend="layers", include=str(ROOT / "data" / "tasks"))
    monkeypatch.setattr("ream.evaluation.tasks.output_type", lambda name, manager: None)
    harness = Harness(params.Suite(gen=["demo_arithmetic"]), evaluation, number_items)
    with pytest.raises(UserError, match="'demo_arithmetic' generates text"):
        harness.load(None)
