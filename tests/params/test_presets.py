"""params/: every preset is complete, shares what all share, and its model comes out at its published size."""

import copy
import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from ream.analysis.results.rows import ROLES, TASKS
from ream.commands.work import work_of
from ream.estimate.needs import estimate
from ream.evaluation.pinned import PINNED
from ream.models.family.sizes import check_group_size, check_kept
from ream.models.inspection.headers import open_headers
from ream.params import load_params
from ream.params.reading import read_tree
from ream.params.written_out import resolve
from tests.graphs import dvc
from tests.models.published import MODELS, write_config
from tests.tiny import ROOT

# Of public models; those of the paper's whole grid begin with "paper-".
PRESETS = {path.stem: path for path in sorted((ROOT / "params").glob("[!ps]*.yaml"))}
# Experts kept to C, as in the paper.
PAPER = {
    "qwen3-30b-a3b": {96: 16, 64: 32}, "qwen3-next-80b-a3b": {384: 32}, "qwen3-coder-next": {384: 32},
    "glm-4.5-air": {96: 16},
}  # fmt: skip
MIXES = [  # Table 3, C4 : Math : Code
    (0.3, 0.3, 0.3), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (0.2, 0.5, 0.3), (0.1, 0.8, 0.1), (0, 0.7, 0.3),
    (0.2, 0.25, 0.55), (0.1, 0.1, 0.8), (0, 0.3, 0.7),
]  # fmt: skip
ALONE = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
STUDIES = {path.stem: path for path in sorted((ROOT / "params").glob("paper-*.yaml"))}
LARGEST = (
    "Kimi-K2",
    "Qwen3-Next-80B-A3B",
    "Qwen3-Coder-Next",
    "Qwen3-Coder-480B-A35B",
    "GLM-4.5-Air",
)  # which take seconds each
SLOW = pytest.mark.slow
OF_THE_MODEL = ("generation", "chat_template_args", "think_end_token")  # of a suite: its makers recommend them
SHARED = ("compute", "calibration", "sources", "statistics", "mixes", "methods", "suites", "evaluation")


def test_one_for_every_model():
    assert {model.preset for model in MODELS.values()} == set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_papers_settings(name):
    params = load_params(PRESETS[name])
    assert (params.calibration.sequences, params.calibration.tokens, params.statistics.probes) == (3072, 512, 8192)
    assert list(params.run.sources) == ["c4", "numina-math", "the-stack-smol"]
    assert [tuple(mix[source] for source in params.run.sources) for mix in params.mixes.values()] == MIXES
    assert next(iter(params.mixes)) == "balanced"  # what `ream compress` takes unless told otherwise
    assert set(params.grouping.group_size) == set(params.run.experts)
    if name in PAPER:
        assert params.grouping.group_size == PAPER[name]
    assert list(params.exports) == [f"{name}-ream-{params.run.experts[0]}"]


def test_a_study_for_each_of_the_papers_models():
    assert {f"paper-{name}" for name in PAPER} <= set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_the_papers_grid(name):
    params = load_params(STUDIES[name])
    assert [ROLES[source] for source in params.run.sources] == ["general", "math", "code"]
    ratios = [tuple(params.mixes[mix][source] for source in params.run.sources) for mix in params.run.mixes]
    assert ratios == MIXES + ALONE
    assert list(params.mixes) == params.run.mixes
    assert params.run.one_shot == ["frequency", "ean", "reap", "m-smoe", "hc-smoe"]
    assert params.run.sequential == ["ream"]
    assert set(params.grouping.group_size) == set(params.run.experts)
    suite = params.suites[params.evaluation.suite]
    assert suite.mc  # so that there are MC, GEN and AVG
    assert suite.gen


@pytest.mark.parametrize("name", PAPER)
def test_a_real_models_study_has_its_presets_settings_and_the_papers_suite(name):
    study, preset = load_params(STUDIES[f"paper-{name}"]), load_params(PRESETS[name])
    for section in ("model", "compute", "calibration", "sources", "statistics", "grouping", "methods", "merge"):
        assert getattr(study, section) == getattr(preset, section), section
    assert study.grouping.group_size == PAPER[name]
    assert study.run.experts == list(PAPER[name])
    suite, mc, gen = study.suites[study.evaluation.suite], preset.suites["mc"], preset.suites["gen"]
    assert (suite.mc, suite.gen) == (mc.mc, gen.gen)
    assert (suite.num_fewshot, suite.chat_template) == (gen.num_fewshot, gen.chat_template)
    assert all(getattr(suite, name) == getattr(gen, name) for name in OF_THE_MODEL)
    assert set(suite.generation) == set(suite.chat_template)  # greedy answers of these models end in loops
    assert all(
        (PINNED[task].generation | entry.given)["max_gen_toks"] >= 16384 for task, entry in suite.generation.items()
    )
    assert (suite.metric, suite.limit) == ({}, None)
    assert {PINNED[task].metric for task in suite.mc} == {"acc"}
    assert suite.num_fewshot["gpqa_diamond_n_shot"] == 5
    assert not study.evaluation.allow_code_execution  # that is for the user to say
    with (ROOT / "data" / "published" / "large-models.csv").open() as file:
        published = csv.DictReader(file).fieldnames
    assert {TASKS.get(task, task) for task in suite.gen} <= set(published)
    files = (STUDIES[f"paper-{name}"], ROOT / "params.yaml")
    ours, own = (set(read_tree(path)) for path in files)
    assert ours == own


def test_table_4_is_of_qwen3_coder_next():
    studies = {name: load_params(STUDIES[f"paper-{name}"]) for name in PAPER}
    assert [name for name, params in studies.items() if params.run.extra.mixes] == ["qwen3-coder-next"]
    params = studies["qwen3-coder-next"]
    some = params.run.extra
    with (ROOT / "data" / "published" / "ablations.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"].startswith("ream-")]
    methods, columns = {*some.one_shot, *some.sequential}, ("general_ratio", "math_ratio", "code_ratio")
    assert {row["method"] for row in rows} <= methods
    mixes = {tuple(params.mixes[name][source] for source in params.run.sources) for name in some.mixes}
    assert {tuple(float(row[name]) for name in columns) for row in rows} <= mixes == {MIXES[-1], MIXES[-2], MIXES[-3]}
    assert len(methods) == 6


def test_the_published_rows_are_cells_of_the_study():
    run = load_params(STUDIES["paper-qwen3-30b-a3b"]).run
    with (ROOT / "data" / "published" / "mixes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] != "original"]
    columns = [f"{source}_ratio" for source in ("general", "math", "code")]
    published = {(row["method"], int(row["experts"]), tuple(float(row[name]) for name in columns)) for row in rows}
    methods = {method for method, _, _ in published}
    assert methods == {"frequency", "reap", "hc-smoe", "ream"} <= {*run.one_shot, *run.sequential}
    assert {(method, experts, mix) for method in methods for experts in run.experts for mix in MIXES} <= published
    assert {mix for _, _, mix in published} <= {*MIXES, *ALONE}


def test_presets_share_what_is_the_same_and_params_yaml_has_it_too():
    trees = {name: copy.deepcopy(read_tree(path)) for name, path in PRESETS.items()}
    first, own = next(iter(trees.values())), read_tree(ROOT / "params.yaml")
    for tree in trees.values():
        for name in OF_THE_MODEL:
            tree["suites"]["gen"].pop(name, None)
        assert {section: tree[section] for section in SHARED} == {section: first[section] for section in SHARED}
        assert set(tree) == set(own)
    assert first["methods"] == own["methods"]
    assert {name: first["suites"][name] for name in ("mc", "gen")} == {
        name: own["suites"][name] for name in ("mc", "gen")
    }
    for source, entry in first["sources"].items():
        assert own["sources"][source] == entry


def test_the_demo_has_the_papers_grid():
    params = load_params(ROOT / "params" / "paper-demo.yaml")
    ratios = [tuple(params.mixes[name][source] for source in params.run.sources) for name in params.run.mixes]
    assert ratios == [*MIXES, (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert set(params.run.one_shot + params.run.sequential) == {
        "frequency", "ean", "reap", "m-smoe", "hc-smoe", "ream"
    }  # fmt: skip
    some = params.run.extra
    table_4 = [tuple(params.mixes[name][source] for source in params.run.sources) for name in some.mixes]
    assert table_4 == [(0, 0.3, 0.7), (0.1, 0.1, 0.8), (0.2, 0.25, 0.55)]
    assert len(some.one_shot + some.sequential) == 6
    assert params.run.rank == params.run.mixes
    own, tree = (read_tree(ROOT / name) for name in ("params.yaml", "params/paper-demo.yaml"))
    same = ("model", "compute", "calibration", "statistics", "methods", "grouping", "evaluation", "merge")
    assert {section: tree[section] for section in same} == {section: own[section] for section in same}
    assert tree["suites"] == {"demo": own["suites"]["demo"]}


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    """A model opened from its config alone, once."""
    opened = {}

    def of(name):
        config = json.dumps(MODELS[name].config)  # two of them are alike
        if config not in opened:
            opened[config] = open_headers(str(write_config(name, tmp_path_factory.mktemp("published") / "model")))
        return opened[config]

    return of


def expert_parameters(config):
    """Parameters of one expert with its row in the router, in all layers: from the config's own numbers."""
    numbers = config.get("text_config", config)
    hidden, width = numbers["hidden_size"], numbers.get("moe_intermediate_size", numbers["intermediate_size"])
    dense = numbers.get("first_k_dense_replace", numbers.get("moe_layer_start_index", 0))
    layers = numbers["num_hidden_layers"] - dense + numbers.get("num_nextn_predict_layers", 0)
    bias = layers if numbers["model_type"] in ("glm4_moe", "kimi_k2", "ernie4_5_moe") else 0
    return layers * (3 * width + 1) * hidden + bias


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW) if name in LARGEST else name for name in MODELS])
def test_a_public_model_comes_out_at_its_published_size(name, headers):
    published = MODELS[name]
    params, model = load_params(PRESETS[published.preset]), headers(name)
    text = model.parts.all.parameters - model.parts.vision.parameters
    extra = sum(layer.all.parameters for layer in model.parts.layers[model.architecture.layers :])  # multi-token
    assert (text - extra) / 1e9 == pytest.approx(published.parameters, rel=0.005)
    if published.all:
        assert model.parts.all.parameters / 1e9 == pytest.approx(published.all, rel=0.005)
    active, outside = model.parts.active(model.architecture, model.architecture.experts), model.parts.outside.parameters
    assert (active - outside) / 1e9 <= published.active + 0.5  # cards round, and count embedding and head, or not
    assert active / 1e9 >= published.active - 0.5
    for experts in params.run.experts:
        check_kept(model.architecture, experts)
        check_group_size(model.architecture, experts, params.grouping.size_for(experts))
        work = work_of(params, "balanced", "ream", experts, torch.device("cpu"), torch.float32)
        found = estimate(model, work)
        gone = (model.architecture.experts - experts) * expert_parameters(published.config)
        assert found.parameters_after == found.parameters_before - gone
        assert found.parameters_before == model.parts.all.parameters
        assert found.bytes_after < found.bytes_before
        assert found.host > max(found.needs.host.values()) > 0


@pytest.mark.slow
def test_bytes_of_quantised_originals(headers):
    """8 bits a weight and a float32 scale for 128 x 128; 4 bits and a bfloat16 scale for 128, as config.json says.

    The 480B model's shards are 482 GB; embedding and head, 1.9 · 10^9 weights, are in bfloat16 there.
    """
    coder, kimi = headers("Qwen3-Coder-480B-A35B").parts, headers("Kimi-K2").parts
    assert coder.all.bytes / 1e9 == pytest.approx(480.15 * (1 + 4 / 128**2) + 2 * 151936 * 6144 / 1e9, rel=0.001)
    packed = (4 / 8 + 2 / 128) * (kimi.all.parameters - kimi.outside.parameters) / 1e9
    assert kimi.all.bytes / 1e9 == pytest.approx(packed + 2 * kimi.outside.parameters / 1e9, rel=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "qwen3-30b-a3b",
            {
                "calibration@numina-math", "statistics@c4", "grouping@balanced-hc-smoe-96",
                "sequential@balanced-ream-96",
                "sequential@balanced-ream-64", "evaluate@balanced-reap-96", "evaluate-sequential@balanced-ream-64",
                "merge@qwen3-30b-a3b-ream-96", "report",
            },
        ),
        pytest.param(
            "paper-qwen3-coder-next",
            {
                "saliency@code-only", "alignment@general-only-frequency-384", "sequential@math-only-ream-384", "report",
                "alignment-extra@code-heavy-ream-one-shot-384", "rank@code-over-math",
                "sequential-extra@code-leaning-ream-ungated-384",
            },
            marks=SLOW,
        ),
    ],
)  # fmt: skip
def test_dvc_reads_a_file(tmp_path: Path, name, expected):
    """`ream params resolve X`: every stage of the graph resolves."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    resolve((PRESETS | STUDIES)[name], tmp_path / "params.yaml")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    dvc(tmp_path, "init", "-q")
    assert expected <= {line.split()[0] for line in dvc(tmp_path, "stage", "list", "--all").splitlines()}
