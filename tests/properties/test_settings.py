"""Mutated params files, settings of the command line, task files and tokenizers."""

import json

import yaml
from hypothesis import strategies as st

from ream.calibration.tokenizer import load_encoder
from ream.commands.request import Request, requested
from ream.evaluation.task_files import check_task_files, data_files
from ream.params import Params, load_params
from tests import tiny
from tests.properties.mutations import PIECES, cases, json_texts, run, spliced

SMALL = {
    "model": {"path": "model"},
    "local": {"texts": "texts"},
    "compute": {"device": "cpu", "threads": 1},
    "calibration": {"sequences": 8, "tokens": 24},
    "sources": {
        "a": {"kind": "files", "paths": ["texts/*.txt"]},
        "b": {"kind": "hub", "dataset": "owner/name", "where": {"x": ["y"]}},
        "c": {"kind": "tokens", "path": "tokens.parquet"},
    },
    "mixes": {"half": {"a": 0.5, "b": 0.5}, "c": {"c": 1}},
    "grouping": {"group_size": {4: 8}},
    "methods": {
        "reap": {"saliency": "reap", "grouping": "pruning"},
        "ream": {"saliency": "reap", "grouping": "pseudo-pruning", "sequential": True, "merging": "weighted"},
    },
    "suites": {"mc": {"mc": ["arc_easy"], "limit": 4, "chat_template": ["arc_easy"]}, "none": {}},
    "evaluation": {"suite": "mc"},
    "run": {
        "sources": ["a", "b"],
        "mixes": ["half"],
        "one_shot": ["reap"],
        "sequential": [],
        "experts": [4],
        "rank": ["half"],
    },
    "exports": {"e": {"mix": "half", "method": "reap", "experts": 4}},
    "imports": {"i": {"path": "x.csv"}},
}


def real():
    """The settings above, with methods as this repository's params.yaml has them."""
    methods = yaml.safe_load((tiny.ROOT / "params.yaml").read_text(encoding="utf-8"))["methods"]
    return SMALL | {"methods": {name: methods[name] for name in ("reap", "ream")}}


@cases(200)
def test_params_files(cases, tmp_path):
    path, value = tmp_path / "params.yaml", json.loads(json.dumps(real()))  # JSON is YAML

    def check(text):
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        assert isinstance(load_params(path), Params)

    outcomes = run(check, json_texts(value), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


@cases(80)
def test_params_files_as_people_write_them(cases, tmp_path):
    path = tmp_path / "params.yaml"
    text = yaml.safe_dump(real(), sort_keys=False)

    def check(changed):
        path.write_text(changed, encoding="utf-8", errors="surrogatepass")
        assert isinstance(load_params(path), Params)

    outcomes = run(check, spliced(text), cases)
    assert min(outcomes.lines, outcomes.results) > 0


@cases(80)
def test_settings_of_the_command_line(cases, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(real()))
    keys = [f"{section}.{key}" for section, keys in real().items() for key in keys]
    keys += ["x", "x.", ".", "model.path.x", ""]

    def check(case):
        key, value, mix = case
        request = Request("model", tmp_path / "out", 4, "reap", mix=mix, settings=(f"{key}={value}",))
        assert isinstance(requested(request, path)[0], Params)

    mixes = ["half"] * 10 + ["a=1", "a=nan,b=1", "a=-1,b=2", "a=1e400", "x=1", "a=1,a=2", "=", "a="]
    whole = ["calibration.sequences", "calibration.tokens", "compute.threads"]  # of which some pieces are values
    key = st.sampled_from(keys) | st.sampled_from(whole)
    piece = st.sampled_from(PIECES) | st.sampled_from(["8", "1000", "7"])
    outcomes = run(check, st.tuples(key, piece, st.sampled_from(mixes)), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


TASK = {
    "task": "t", "include": "other", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": ["a", "b"]}},
    "metadata": {"version": 1},
}  # fmt: skip


@cases(60)
def test_task_files(cases, tmp_path):
    (tmp_path / "other").write_text("output_type: multiple_choice")

    def check(text):
        (tmp_path / "x.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
        check_task_files(tmp_path)
        assert all(path.exists() for _, path in data_files(tmp_path))

    outcomes = run(check, json_texts(TASK), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


@cases(40)
def test_tokenizers(cases, tmp_path):
    tiny.write_tokenizer(tmp_path)
    value = json.loads((tmp_path / "tokenizer.json").read_text())
    value["model"]["vocab"] = dict(list(value["model"]["vocab"].items())[:8])

    def check(text):
        (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        encoder = load_encoder(str(tmp_path), None, False)
        assert all(type(token) is int and token >= 0 for token in encoder.encode("some text, 123"))

    outcomes = run(check, json_texts(value), cases)
    assert min(outcomes.lines, outcomes.results) > 0
