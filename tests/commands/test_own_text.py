"""--text: what its values name, and own text in `ream compress` and `ream evaluate`, which never see the same of it."""

import json
import random

import pytest

from ream.calibration.corpus import read_corpus
from ream.commands.request import Request, requested
from ream.commands.scoring import ScoreRequest, scoring
from ream.commands.texts import own_text, text_sources
from ream.errors import UserError
from ream.evaluation.windows import read_windows
from ream.models.family.limits import limits_of
from ream.params import load_params
from ream.stages import calibration, items
from tests import tiny
from tests.tiny import ROOT

PARAMS = ROOT / "params.yaml"
WORDS = [
    "the",
    "expert",
    "router",
    "merges",
    "gates",
    "over",
    "every",
    "token",
    "and",
    "its",
    "layer",
    "keeps",
    "some",
    "few",
    "more",
    "of",
    "them",
    "all",
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = random.Random(1)
    (tmp_path / "notes").mkdir()
    for number in range(30):
        text = " ".join(f"{generator.choice(WORDS)}{generator.randrange(1000)}" for _ in range(80))
        (tmp_path / "notes" / f"{number}.md").write_text(text)
    rows = [{"solution": f"{number} " + "is one number. " * 30} for number in range(40)]
    (tmp_path / "problems.v2.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "odd:name=x.txt").write_text("odd")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("notes", ("notes", "notes", None)),
        ("notes/", ("notes", "notes/", None)),
        ("./notes=my-notes", ("my-notes", "./notes", None)),
        ("problems.v2.jsonl", ("problems.v2", "problems.v2.jsonl", None)),
        ("problems.v2.jsonl:solution", ("problems.v2", "problems.v2.jsonl", "solution")),
        ("problems.v2.jsonl:solution=math", ("math", "problems.v2.jsonl", "solution")),
        ("problems.v2.jsonl=math", ("math", "problems.v2.jsonl", None)),
        ("notes/*.md", ("notes", "notes/*.md", None)),
        ("notes/*.md=all", ("all", "notes/*.md", None)),
        ("odd:name=x.txt", ("odd-name-x", "odd:name=x.txt", None)),
        ("odd:name=x.txt=odd", ("odd", "odd:name=x.txt", None)),
    ],
)
def test_a_value_is_a_path_a_column_and_a_name(folder, given, expected):
    assert own_text(given) == expected


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["nowhere.txt"], "--text: nowhere.txt does not exist; give a file, a folder or a glob pattern"),
        (["nowhere/*.md=x"], "--text: nowhere/*.md does not exist"),
        (["notes=a b"], "--text: 'a b' in 'notes=a b' is not a name; use letters"),
        (["problems.v2.jsonl:"], "--text: 'problems.v2.jsonl:' names no column behind its ':'"),
        (["notes", "notes"], "--text: notes is given twice; give it once"),
        (["notes", "notes/*.md"], "--text: two texts are called 'notes'; name them, as in notes/*.md=NAME"),
        (["notes=a", "problems.v2.jsonl:solution=a"], "--text: the texts called 'a' have different columns"),
    ],
)
def test_what_a_text_cannot_be(folder, texts, line):
    with pytest.raises(UserError) as error:
        text_sources(texts)
    assert str(error.value).startswith(line)


def test_texts_of_one_name_are_one_source(folder):
    (source,) = text_sources(["notes=a", "odd:name=x.txt=a"]).values()
    assert source == {"kind": "files", "paths": ["notes", "odd:name=x.txt"], "windows": "all", "held_out": 0.1}


def compression(**options):
    return requested(Request("model", "out", 24, "reap", **options), PARAMS)


def test_the_mix_is_of_equal_parts_or_as_given(folder):
    params, mix = compression(text=("notes", "problems.v2.jsonl:solution=math"))
    assert (mix, params.mix(mix), params.run.sources) == ("own", {"notes": 0.5, "math": 0.5}, ["notes", "math"])
    assert params.sources["math"].column == "solution"
    params, mix = compression(text=("notes",), mix="notes=3,code=1")
    assert params.mix(mix) == {"notes": 0.75, "code": 0.25}
    assert params.sources["code"].kind == "builtin"
    for mix in ("balanced", "code=1", "notes=0,code=1"):
        with pytest.raises(UserError, match=f"--mix: '{mix}' gives the text 'notes' no ratio; add notes=NUMBER"):
            compression(text=("notes",), mix=mix)
    with pytest.raises(UserError, match="--text and --calibration are both given"):
        compression(text=("notes",), calibration="x.parquet")


def test_a_text_takes_the_place_of_the_suites_loss_and_without_a_suite_of_its_tasks(folder):
    params = scoring(ScoreRequest("model", text=("notes", "odd:name=x.txt=math"), sequences=3, tokens=16), PARAMS)
    suite = params.suites[params.evaluation.suite]
    assert (suite.loss, suite.mc, suite.gen, suite.loss_sequences, suite.loss_tokens) == (
        ["notes", "math"],
        [],
        [],
        3,
        16,
    )
    assert params.loss_source("math").paths == ["odd:name=x.txt"]
    params = scoring(ScoreRequest("model", suite="demo", text=("notes",)), PARAMS)
    demo = load_params(PARAMS).suites["demo"]
    assert params.suites["demo"] == demo.model_copy(update={"loss": ["notes"]})
    whole = scoring(ScoreRequest("model", text=("notes",), whole_text=True), PARAMS)
    assert whole.loss_source("notes").held_out == 1


def test_what_is_calibrated_on_and_what_is_measured_on_share_no_text(folder, checkpoint):
    """From the files that both commands write: no window of 16 tokens of one is in the other."""
    texts, limits = ("notes", "problems.v2.jsonl:solution=math"), limits_of(checkpoint)
    params, _ = compression(text=texts, sequences=200, tokens=64)
    scored = scoring(ScoreRequest(str(checkpoint), text=texts, sequences=10, tokens=64), PARAMS)
    line = items.write_items(scored, folder / "items", checkpoint)
    windows = read_windows(folder / "items" / "windows.safetensors")
    for name in ("notes", "math"):
        draw = params.calibration.model_copy(update={"sequences": 100})
        small = params.model_copy(update={"calibration": draw})
        calibration.write_sequences(small, name, checkpoint, folder / "c.parquet", folder / "h.parquet", limits)
        calibrated = read_corpus(folder / "c.parquet").sequences
        assert len(calibrated) == 100
        runs = {tuple(ids[start : start + 16]) for ids in calibrated for start in range(len(ids) - 15)}
        measured = [row.tolist() for row in windows[name]]
        assert len(measured) >= 2
        if name == "notes":  # whose texts are all different; those of math share all but a number
            assert not any(tuple(ids[start : start + 16]) in runs for ids in measured for start in range(len(ids) - 15))
    assert f"{len(windows['notes'])} windows of 64 tokens of notes" in line


def test_too_little_text_is_refused_with_what_there_is_and_what_is_needed(folder, checkpoint):
    limits = limits_of(checkpoint)
    params, _ = compression(text=("notes",), sequences=10_000, tokens=64)
    with pytest.raises(
        UserError,
        match=r"^source 'notes': \d+ documents give \d+ sequences of at least 58 tokens, but 10000 are needed",
    ):
        calibration.write_sequences(params, "notes", checkpoint, folder / "c.parquet", folder / "h.parquet", limits)
    scored = scoring(ScoreRequest(str(checkpoint), text=("odd:name=x.txt=odd",), tokens=64), PARAMS)
    with pytest.raises(UserError, match=r"the held-out text of 'odd' fills 0 windows of 64 tokens, but 2 are needed"):
        items.write_items(scored, folder / "items", checkpoint)


def test_a_source_without_held_out_text_has_no_loss(tmp_path):
    path = tiny.write_params(tmp_path)
    for loss, line in (
        ("a", r"source 'a' keeps no text held out from calibration; set sources\.a\.held_out, such as 0\.1"),
        (
            "prose",
            r"source 'prose' is unknown; .*the built-in text, with params 'sources', has: a, b, code, general, math",
        ),
    ):
        params = scoring(ScoreRequest("model", settings=(f"suites.none.loss=[{loss}]",)), path)
        with pytest.raises(UserError, match=rf"^suites\.none\.loss: {line}"):
            params.loss_source(loss)


def test_text_that_is_all_held_out_is_not_calibrated_on(tmp_path):
    settings = ("sources.a.held_out=1",)
    with pytest.raises(UserError, match=r"mix 'balanced' draws on a, all of which is held out \(held_out: 1\)"):
        requested(Request("model", "out", 4, "reap", settings=settings), tiny.write_params(tmp_path))
