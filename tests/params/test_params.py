import copy
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import ValidationError

from ream.analysis.results.rows import OURS, PAPER
from ream.core.alignment import TERMS
from ream.core.grouping import GROUPINGS
from ream.core.saliency import SALIENCIES
from ream.core.similarity import SIMILARITIES
from ream.errors import UserError
from ream.params import (
    TAKEN,
    AlignmentTerm,
    Grouping,
    GroupingKind,
    SaliencyKind,
    SimilarityKind,
    check_mix,
    load_params,
    normalised,
    parse_params,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tree():
    """A small tree that is allowed, to be spoilt in one place."""
    return {
        "model": {"path": "model"},
        "calibration": {"sequences": 4, "tokens": 32},
        "sources": {
            "general": {"kind": "builtin", "name": "general"},
            "c4": {"kind": "hub", "dataset": "allenai/c4"},
            "notes": {"kind": "files", "paths": ["notes/*.txt"]},
            "own": {"kind": "tokens", "path": "own.parquet"},
        },
        "mixes": {"balanced": {"general": 0.5, "c4": 0.5}, "only": {"general": 1, "c4": 0}},
        "grouping": {"group_size": {4: 2}},
        "methods": {
            "reap": {"saliency": "reap", "grouping": "pruning"},
            "m-smoe": {"saliency": "frequency", "grouping": "nearest-centroid", "similarity": "gate-logits"},
            "ream": {
                "saliency": "reap",
                "grouping": "pseudo-pruning",
                "similarity": ["gate-logits", "gated-output"],
                "alignment": ["activations", "weights"],
                "sequential": True,
            },
        },
        "suites": {"demo": {"mc": ["boolq"]}},
        "evaluation": {"suite": "demo"},
        "run": {
            "sources": ["general", "c4"],
            "mixes": ["balanced"],
            "one_shot": ["reap"],
            "sequential": ["ream"],
            "experts": [4, 8],
        },
        "exports": {"best": {"mix": "balanced", "method": "ream", "experts": 4}},
        "imports": {"old": {"path": "old", "model": "m", "method": "reap", "experts": 4, "mix": {"c4": 2}}},
    }


def put(tree, path, value):
    """The tree with a value put at a dotted path."""
    *sections, key = path.split(".")
    inner = tree
    for section in sections:
        inner = inner[section]
    inner[key] = value
    return tree


def refusal(tree):
    """The line a person sees."""
    with pytest.raises(UserError) as caught:
        parse_params(tree, "params.yaml")
    line = str(caught.value)
    assert "\n" not in line
    return line


# What is allowed


def test_the_repositorys_params_parse():
    params = load_params(ROOT / "params.yaml")
    plain = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert params.calibration.tokens == plain["calibration"]["tokens"]
    assert list(params.methods) == list(plain["methods"])
    assert params.run.model_dump() == plain["run"]


# docs/method.md, "Methods": saliency, grouping, similarity, alignment, sequential
COMPOSITIONS = {
    "frequency": ("frequency", "pruning", [], [], False),
    "ean": ("ean", "pruning", [], [], False),
    "reap": ("reap", "pruning", [], [], False),
    "m-smoe": ("frequency", "nearest-centroid", ["gate-logits"], ["weights"], False),
    "hc-smoe": ("frequency", "hierarchical", ["output"], ["activations"], False),
    "ream": ("reap", "pseudo-pruning", ["gate-logits", "gated-output"], ["activations", "weights"], True),
    "ream-released": (
        "released-batches",
        "pseudo-pruning",
        ["gate-logits", "gated-output"],
        ["activations", "weights-pca"],
        True,
    ),
    "man": ("man", "pruning", [], [], False),
    "msan-sequential": ("msan", "pruning", [], [], True),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_methods_are_composed_as_published(name):
    method = load_params(ROOT / "params.yaml").method(name)
    composition = (method.saliency, method.grouping, method.similarity, method.alignment, method.sequential)
    assert composition == COMPOSITIONS[name]
    released = name == "ream-released"
    assert method.scores == ("softmax" if released else "router")
    assert method.centroid_counts == method.raise_zeros == released


@pytest.mark.parametrize(
    ("choices", "implemented"),
    [
        (SaliencyKind, SALIENCIES),
        (SimilarityKind, SIMILARITIES),
        (GroupingKind, GROUPINGS),
        (AlignmentTerm, TERMS),
    ],
    ids=["saliency", "similarity", "grouping", "alignment"],
)
def test_choices_are_what_the_core_implements(choices, implemented):
    assert set(get_args(choices)) == set(implemented)


def test_small_tree_parses(tree):
    params = parse_params(tree)
    assert params.sources["c4"].dataset == "allenai/c4"
    assert params.methods["m-smoe"].similarity == ["gate-logits"]  # one term may stand without a list
    assert params.statistics.probes == 8192
    assert params.compute.batch_tokens == 8192


def test_tree_is_frozen(tree):
    params = parse_params(tree)
    with pytest.raises(ValidationError, match="frozen"):
        params.calibration.tokens = 8


def test_mix_is_normalised(tree):
    params = parse_params(put(tree, "mixes.balanced", {"general": 0.3, "c4": 0.1}))
    assert params.mix("balanced") == pytest.approx({"general": 0.75, "c4": 0.25})
    assert normalised({"general": 2.0, "c4": 0.0}) == {"general": 1.0, "c4": 0.0}


def test_group_size_is_a_number_or_a_table():
    assert Grouping(group_size=5).size_for(96) == 5
    assert Grouping(group_size={96: 16, 64: 32}).size_for(64) == 32
    assert Grouping().size_for(96) == 16
    with pytest.raises(UserError, match=r"grouping\.group_size has no entry for 48 experts; it has \[64, 96\]"):
        Grouping(group_size={96: 16, 64: 32}).size_for(48)


def test_zero_ratio_of_a_source_that_does_not_run_is_allowed(tree):
    put(tree, "run.sources", ["general"])
    assert parse_params(put(tree, "run.mixes", ["only"]) | {"exports": {}}).mix("only") == {"general": 1.0, "c4": 0.0}


# Keys that do not exist

TYPOS = {
    "modle": ("model", "'the top level' has: calibration, compute, evaluation, exports, grouping, imports, local"),
    "model.pth": (
        "model.path",
        "'model' has: model.keep_shards, model.multi_token, model.path, model.special_tokens, model.trust_remote_code",
    ),
    "calibration.sequence": ("calibration.sequences", "'calibration' has: calibration.fill, calibration.packing"),
    "statistics.probe": (
        "statistics.probes",
        "'statistics' has: statistics.dense_tokens, statistics.probes, statistics.saliency_batch, statistics.sequences",
    ),
    "grouping.groupsize": ("grouping.group_size", "'grouping' has: grouping.group_size"),
    "evaluation.batchsize": ("evaluation.batch_size", "evaluation.backend, evaluation.batch_size"),
    "run.one-shot": (
        "run.one_shot",
        "run.experts, run.extra, run.mixes, run.one_shot, run.rank, run.search, run.sequential, run.sources",
    ),
    "methods.ream.saliancy": (
        "methods.ream.saliency",
        "methods.ream.alignment, methods.ream.candidates, methods.ream.centroid_counts",
    ),
    "methods.refitted.refit.rigde": (
        "methods.refitted.refit.ridge",
        "methods.refitted.refit.ridge, methods.refitted.refit.router, methods.refitted.refit.sweeps",
    ),
    "suites.demo.fewshot": ("suites.demo.num_fewshot", "suites.demo.gen, suites.demo.generation, suites.demo.limit"),
    "exports.best.mehtod": ("exports.best.method", "exports.best.experts, exports.best.method, exports.best.mix"),
    "imports.old.metod": ("imports.old.method", "imports.old.experts, imports.old.method, imports.old.mix"),
    "sources.c4.datset": (
        "sources.c4.dataset",
        "sources.c4.column, sources.c4.config, sources.c4.count, sources.c4.dataset",
    ),
    "sources.notes.path": (
        "sources.notes.paths",
        "sources.notes.column, sources.notes.held_out, sources.notes.kind, sources.notes.paths",
    ),
    "sources.own.pth": (
        "sources.own.path",
        "'sources.own' has: sources.own.held_out, sources.own.kind, sources.own.path, sources.own.source",
    ),
}


@pytest.mark.parametrize("path", TYPOS)
def test_typo_names_the_nearest_key_and_the_allowed_ones(tree, path):
    nearest, allowed = TYPOS[path]
    tree.setdefault("statistics", {})
    tree["methods"]["refitted"] = {"saliency": "reap", "grouping": "pruning", "sequential": True, "refit": {}}
    line = refusal(put(tree, path, 1))
    assert line.startswith(f"params.yaml: key '{path}' is unknown; did you mean '{nearest}'? ")
    assert allowed in line


def test_typo_of_a_required_key_is_called_a_typo(tree):
    tree["modle"] = tree.pop("model")
    assert refusal(tree).startswith("params.yaml: key 'modle' is unknown; did you mean 'model'?")


def test_key_of_another_kind_of_source_is_refused(tree):
    line = refusal(put(tree, "sources.general.column", "text"))
    assert line.startswith("params.yaml: key 'sources.general.column' is unknown;")
    assert line.endswith("'sources.general' has: sources.general.kind, sources.general.name, sources.general.split")


def test_key_like_no_other_gets_no_suggestion(tree):
    line = refusal(put(tree, "xyz", 1))
    assert line.startswith("params.yaml: key 'xyz' is unknown; 'the top level' has: calibration, compute, evaluation,")


def test_source_may_be_called_like_a_kind(tree):
    put(tree, "sources.tokens", {"kind": "tokens", "pth": "own.parquet"})
    assert refusal(tree).startswith(
        "params.yaml: key 'sources.tokens.pth' is unknown; did you mean 'sources.tokens.path'?"
    )


# Values that are not allowed

VALUES = {
    "methods.ream.saliency": (
        "reep",
        "input should be 'frequency', 'ean', 'reap', 'released', 'released-batches', 'man', 'msan' or 'energy' "
        "(given: 'reep')",
    ),
    "methods.ream.grouping": (
        "prune",
        "'nearest-centroid', 'hierarchical', 'matching' or 'assignment' (given: 'prune')",
    ),
    "methods.ream.scores": ("sigmoid", "input should be 'router' or 'softmax' (given: 'sigmoid')"),
    "compute.dtype": ("fp16", "input should be 'auto', 'float32' or 'bfloat16' (given: 'fp16')"),
    "compute.device": ("gpu", r"'^(auto|cpu|cuda(:\d+)?)$' (given: 'gpu')"),
    "evaluation.backend": ("tgi", "input should be 'hf', 'vllm', 'layers' or 'endpoint' (given: 'tgi')"),
    "sources.general.name": ("maths", "input should be 'general', 'math' or 'code' (given: 'maths')"),
    "sources.general.split": ("test", "input should be 'train', 'calibration' or 'held-out' (given: 'test')"),
    "calibration.tokens": (4, "greater than or equal to 8 (given: 4)"),
    "calibration.sequences": (0, "greater than or equal to 1 (given: 0)"),
    "calibration.fill": (1.5, "less than or equal to 1 (given: 1.5)"),
    "calibration.seed": ("one", "valid integer, unable to parse string as an integer (given: 'one')"),
    "mixes.balanced.c4": ("half", "valid number, unable to parse string as a number (given: 'half')"),
    "run.experts": ([], "list should have at least 1 item"),
    "run.sources": ([], "list should have at least 1 item"),
    "suites.demo.limit": (0, "greater than or equal to 1 (given: 0)"),
    "sources.notes.paths": ([], "list should have at least 1 item"),
}


def test_a_mistyped_or_missing_key_of_an_endpoint(tree):
    tree["evaluation"]["endpoint"] = {"base-url": "http://node7:8000/v1", "model": "m"}
    line = refusal(tree)
    assert "did you mean 'evaluation.endpoint.base_url'? 'evaluation.endpoint' has: evaluation.endpoint.api" in line
    tree["evaluation"] |= {"endpoint": None, "backend": "endpoint"}
    assert "evaluation: backend: endpoint needs evaluation.endpoint with base_url and model" in refusal(tree)


@pytest.mark.parametrize("path", VALUES)
def test_value_that_is_not_allowed_is_named_with_what_is(tree, path):
    value, allowed = VALUES[path]
    tree.setdefault("compute", {})
    line = refusal(put(tree, path, value))
    assert line.startswith(f"params.yaml: {path}: ")
    assert allowed in line


@pytest.mark.parametrize(
    ("field", "allowed"),
    [
        ("similarity", "'gate-logits', 'output' or 'gated-output'"),
        ("alignment", "'activations', 'weights' or 'weights-pca'"),
    ],
)
@pytest.mark.parametrize("value", ["weigths", ["weigths"]])
def test_unknown_term_is_refused(tree, field, allowed, value):
    line = refusal(put(tree, f"methods.ream.{field}", value))
    assert line == f"params.yaml: methods.ream.{field}.0: input should be {allowed} (given: 'weigths')"


def test_unknown_kind_of_source_is_refused(tree):
    line = refusal(put(tree, "sources.general.kind", "bultin"))
    assert line.startswith("params.yaml: sources.general: input tag 'bultin'")
    assert "'builtin', 'hub', 'files', 'tokens'" in line


@pytest.mark.parametrize("path", ["model", "calibration.tokens", "sources.c4.dataset", "methods.ream.saliency"])
def test_missing_key_is_named(tree, path):
    *sections, key = path.split(".")
    inner = tree
    for section in sections:
        inner = inner[section]
    del inner[key]
    assert refusal(tree) == f"params.yaml: {path}: field required"


@pytest.mark.parametrize("size", [0, {4: 0}, {4: 2, 8: -1}])
def test_group_size_below_one_is_refused(tree, size):
    assert (
        refusal(put(tree, "grouping.group_size", size))
        == "params.yaml: grouping: group_size must be at least 1, for every number of experts"
    )


def test_a_separator_without_packing_is_refused(tree):
    assert refusal(put(tree, "calibration.separator", "</s>")) == (
        "params.yaml: calibration: separator stands between packed documents; set packing: true, or leave it out"
    )


def test_section_that_is_no_table_is_refused(tree):
    assert refusal(put(tree, "run", None)).startswith("params.yaml: run: input should be a valid dictionary")


@pytest.mark.parametrize("given", [None, [], "model"])
def test_file_that_is_no_table_is_refused(given):
    assert refusal(given) == "params.yaml is not a table of sections such as model and run"


@pytest.mark.parametrize("section", ["sources", "mixes", "methods", "suites", "exports", "imports"])
@pytest.mark.parametrize("name", ["a b", "../up", "", "-x"])
def test_name_that_makes_no_file_name_is_refused(tree, section, name):
    tree[section][name] = copy.deepcopy(next(iter(tree[section].values())))
    assert refusal(tree) == f"{section}.{name}: use letters, digits, '.', '_' and '-' only"


# Methods that do not fit together


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (
            {"grouping": "pruning", "similarity": "output"},
            "grouping 'pruning' merges nothing, so it takes no similarity",
        ),
        (
            {"grouping": "pruning", "alignment": "weights"},
            "grouping 'pruning' merges nothing, so it takes no similarity",
        ),
        ({"grouping": "pseudo-pruning"}, "grouping 'pseudo-pruning' needs a similarity"),
        ({"grouping": "nearest-centroid"}, "grouping 'nearest-centroid' needs a similarity"),
        ({"grouping": "hierarchical"}, "grouping 'hierarchical' needs similarity [output] or [gated-output]"),
        (
            {"grouping": "hierarchical", "similarity": "gate-logits"},
            "grouping 'hierarchical' needs similarity [output] or [gated-output]",
        ),
        (
            {"grouping": "nearest-centroid", "similarity": ["output", "output"]},
            "similarity names a term twice: ['output', 'output']",
        ),
        (
            {"grouping": "nearest-centroid", "similarity": "output", "alignment": ["weights", "weights"]},
            "alignment names a term twice: ['weights', 'weights']",
        ),
        ({"grouping": "pruning", "refit": {"target": "layer"}}, "refit needs sequential: true"),
        ({"grouping": "matching"}, "grouping 'matching' needs a similarity"),
        ({"grouping": "hope", "similarity": "output"}, "grouping 'hope' merges nothing, so it takes no similarity"),
        ({"grouping": "pruning", "weighting": "equal"}, "grouping 'pruning' merges nothing, so it takes no weighting"),
        (
            {"grouping": "pruning", "sequential": True, "keep_super_experts": True},
            "keep_super_experts needs sequential: false",
        ),
        ({"grouping": "hope", "keep_super_experts": True}, "keep_super_experts needs grouping 'pruning'"),
        (
            {"grouping": "pruning", "sequential": True, "candidates": [{"saliency": "ean", "grouping": "pruning"}]},
            "candidates need a refit",
        ),
        (
            {
                "grouping": "pruning",
                "sequential": True,
                "refit": {},
                "candidates": [{"saliency": "reap", "grouping": "pruning"}],
            },
            "two candidates are called 'reap'",
        ),
        ({"grouping": "pruning", "merging": "neurons"}, "merging 'neurons' needs a grouping that merges"),
        (
            {"grouping": "matching", "similarity": "output", "alignment": "weights", "merging": "neurons"},
            "merging 'neurons' needs a grouping that merges, and takes no alignment",
        ),
        (
            {"grouping": "matching", "similarity": "output", "merging": "neurons"},
            "merging 'neurons' needs sequential: true",
        ),
    ],
)
def test_method_that_does_not_fit_is_refused(tree, method, reason):
    assert refusal(put(tree, "methods.new", {"saliency": "reap"} | method)).startswith(
        f"params.yaml: methods.new: {reason}"
    )


def test_router_rows_need_the_original_beside(tree):
    refit = {"target": "layer", "router": True}
    method = {"saliency": "reap", "grouping": "pruning", "sequential": True, "refit": refit}
    line = refusal(put(tree, "methods.new", method))
    assert line.startswith("params.yaml: methods.new.refit: router: true needs target: global")


def test_a_candidate_is_checked_like_a_method(tree):
    candidate = {"saliency": "ean", "grouping": "matching"}
    method = {"saliency": "reap", "grouping": "pruning", "sequential": True, "refit": {}, "candidates": [candidate]}
    line = refusal(put(tree, "methods.new", method))
    assert line.startswith("params.yaml: methods.new.candidates.0: grouping 'matching' needs a similarity")
    candidate |= {"grouping": "pruning", "sequential": True}
    line = refusal(tree)
    assert "'methods.new.candidates.0.sequential' is unknown; 'methods.new.candidates.0' has: " in line
    assert "methods.new.candidates.0.weighting" in line


@pytest.mark.parametrize(
    ("key", "value"),
    [("ridge", -1e-9), ("sweeps", 0), ("iterations", -1), ("target", "model"), ("holdout", 0.0), ("holdout", 0.6)],
)
def test_refit_out_of_range_is_refused(tree, key, value):
    refitted = {"saliency": "reap", "grouping": "pruning", "sequential": True, "refit": {key: value}}
    assert refusal(put(tree, "methods.new", refitted)).startswith(f"params.yaml: methods.new.refit.{key}: input should")


def test_only_a_method_that_refits_says_so_in_the_facts_of_its_recipes(tree):
    tree["methods"]["new"] = {"saliency": "reap", "grouping": "pruning", "sequential": True, "refit": {"ridge": 0.5}}
    methods = parse_params(tree).methods
    assert "refit" not in methods["ream"].model_dump()
    assert methods["new"].model_dump()["refit"] == {"target": "global", "ridge": 0.5, "sweeps": 20}
    assert not {"candidates", "weighting", "keep_super_experts"} & methods["new"].model_dump().keys()
    tree["methods"]["new"]["refit"]["iterations"] = 30
    assert parse_params(tree).methods["new"].model_dump()["refit"]["iterations"] == 30


# Names that do not exist


def test_unknown_source_of_a_mix_is_refused(tree):
    line = refusal(put(tree, "mixes.balanced.genral", 1))
    assert line.startswith("mix 'balanced': source 'genral' is unknown; did you mean 'general'?")
    assert line.endswith("params 'sources' has: c4, general, notes, own")


@pytest.mark.parametrize("ratios", [{}, {"general": 0}, {"general": 0, "c4": 0.0}])
def test_mix_of_zeros_is_refused(tree, ratios):
    assert refusal(put(tree, "mixes.balanced", ratios)) == (
        "mix 'balanced': all ratios are zero; at least one must be positive"
    )


@pytest.mark.parametrize(("ratio", "shown"), [(-1, "-1.0"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_ratio_that_is_no_share_is_refused(tree, ratio, shown):
    assert refusal(put(tree, "mixes.balanced.c4", ratio)) == (
        f"mix 'balanced': the ratio of c4 is {shown}; ratios are finite and not negative"
    )


def test_check_mix_lets_zero_beside_positive_pass():
    check_mix("one", {"a": 0.0, "b": 0.1}, {"a": None, "b": None})


RUN_NAMES = {
    "sources": (
        "genral",
        "source 'genral' is unknown; did you mean 'general'? params 'sources' has: c4, general, notes",
    ),
    "mixes": ("balance", "mix 'balance' is unknown; did you mean 'balanced'? params 'mixes' has: balanced, only"),
    "one_shot": ("reep", "method 'reep' is unknown; did you mean 'reap'? params 'methods' has: m-smoe, ream, reap"),
    "sequential": ("raem", "method 'raem' is unknown; did you mean 'ream'? params 'methods' has: m-smoe, ream, reap"),
}


@pytest.mark.parametrize("key", RUN_NAMES)
def test_unknown_name_in_run_is_refused(tree, key):
    name, line = RUN_NAMES[key]
    assert refusal(put(tree, f"run.{key}", [name])).startswith(line)


def test_mix_of_a_source_that_does_not_run_is_refused(tree):
    assert refusal(put(tree, "run.sources", ["general"])) == (
        "mix 'balanced' draws on ['c4'], which run.sources leaves out; add them there"
    )


@pytest.mark.parametrize(
    ("key", "name", "line"),
    [
        ("one_shot", "ream", "method 'ream' has sequential: True; list it under run.sequential"),
        ("sequential", "reap", "method 'reap' has sequential: False; list it under run.one_shot"),
    ],
)
def test_method_under_the_wrong_list_is_refused(tree, key, name, line):
    assert refusal(put(tree, f"run.{key}", [name])) == line


def test_unknown_suite_is_refused(tree):
    assert refusal(put(tree, "evaluation.suite", "dmo")) == (
        "suite 'dmo' is unknown; did you mean 'demo'? params 'suites' has: demo"
    )


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("mix", "only", "exports.best: mix 'only' is unknown; run.mixes has: balanced"),
        ("method", "m-smoe", "exports.best: method 'm-smoe' is unknown; the run section has: ream, reap"),
        ("experts", 6, "exports.best: 6 experts is not in run.experts [4, 8]; add it there"),
    ],
)
def test_export_outside_the_grid_is_refused(tree, key, value, line):
    assert refusal(put(tree, f"exports.best.{key}", value)) == line


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"path": "x"}, "imports.old: lm-eval's files do not name the model; add model, method, experts"),
        (
            {"path": "x", "model": "m", "experts": 8},
            "imports.old: lm-eval's files do not name the model; add method",
        ),
        ({"path": ""}, "imports.old.path: string should have at least 1 character (given: '')"),
        ({"path": "x.csv", "experts": 0}, "imports.old.experts: input should be greater than or equal to 1 (given: 0)"),
        ({"path": "x.csv", "method": "original", "mix": {"c4": 1}}, "imports.old: the original has no calibration mix"),
        ({"path": "x.csv", "mix": {"c5": 1}}, "mix 'imports.old': source 'c5' is unknown; did you mean 'c4'?"),
        ({"path": "x.csv", "mix": {"c4": 0}}, "mix 'imports.old': all ratios are zero"),
        ({"path": "x.csv", "origin": "Ours"}, "imports.old: results cannot be called 'Ours'; use letters"),
        ({"path": "x.csv", "origin": "a b"}, "imports.old: results cannot be called 'a b'; use letters"),
    ],
)
def test_import_that_says_too_little_or_the_wrong_thing_is_refused(tree, value, line):
    found = refusal(put(tree, "imports.old", value))
    assert found.removeprefix("params.yaml: ").startswith(line)


@pytest.mark.parametrize("name", [OURS, PAPER])
def test_names_of_our_and_the_papers_results_are_taken(tree, name):
    assert name in TAKEN
    assert len(TAKEN) == 2
    tree["imports"][name] = {"path": "x.csv"}
    assert refusal(tree).endswith(f"imports.{name}: results cannot be called '{name}'; use letters, digits, '.', "
                                  "'_' and '-' only, and not ours or paper")  # fmt: skip


def test_import_of_a_csv_file_needs_no_more_than_its_path(tree):
    entry = parse_params(put(tree, "imports.old", {"path": "Old.CSV"})).imports["old"]
    assert (entry.is_csv, entry.model, entry.mix) == (True, None, {})
    assert parse_params({key: value for key, value in tree.items() if key != "imports"}).imports == {}


def test_asking_for_an_unknown_method_or_mix_is_refused(tree):
    params = parse_params(tree)
    assert params.method("ream").sequential
    with pytest.raises(UserError, match=r"method 'rean' is unknown; did you mean '.+'\? params 'methods' has: m-smoe"):
        params.method("rean")
    with pytest.raises(UserError, match="mix 'x' is unknown; params 'mixes' has: balanced, only"):
        params.mix("x")


# Files


def test_file_is_read(tree, tmp_path):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert load_params(tmp_path / "params.yaml") == parse_params(tree)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError) as caught:
        load_params(tmp_path / "none.yaml")
    assert str(caught.value) == (
        f"{tmp_path / 'none.yaml'} does not exist; run from the repository's root or name the file with --params"
    )


def test_file_that_is_not_yaml_is_refused_with_the_place(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("model: {path: x\nrun: [", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_params(path)
    line = str(caught.value)
    assert line.startswith(f"{path} is not valid YAML: ")
    assert "line 2" in line
    assert "\n" not in line


def test_errors_in_a_file_name_the_file(tree, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(put(tree, "calibration.tokens", 1)), encoding="utf-8")
    with pytest.raises(UserError, match=r"other\.yaml: calibration\.tokens: "):
        load_params(path)
