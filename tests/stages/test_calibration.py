import hashlib
import json
import shutil

import pytest

from ream.calibration.builtin import documents
from ream.calibration.corpus import read_corpus, write_corpus
from ream.calibration.document import Document
from ream.calibration.parts import rank
from ream.calibration.tokenizer import load_encoder
from ream.errors import UserError
from ream.models.family.limits import Limits
from ream.params import parse_params
from ream.stages import calibration
from tests.calibration.conftest import prose

LIMITS = Limits(vocabulary=340, positions=64)


def params(sources, sequences=4, tokens=32, special_tokens="tokenizer"):
    return parse_params(
        {
            "model": {"path": "unused", "special_tokens": special_tokens},
            "calibration": {"sequences": sequences, "tokens": tokens, "fill": 0.5, "seed": 7},
            "sources": sources,
            "mixes": {},
            "methods": {},
            "suites": {"none": {}},
            "evaluation": {"suite": "none"},
            "run": {"sources": [next(iter(sources))], "mixes": [], "one_shot": [], "sequential": [], "experts": [2]},
        }
    )


@pytest.fixture
def write(tokenizer_folder, tmp_path):
    """Writes the sequences of a source to a file, and the held-out ones to another."""

    def run(settings, source, out, held_out=tmp_path / "held-out.parquet", needed=None):
        return calibration.write_sequences(settings, source, tokenizer_folder, out, held_out, LIMITS, needed)

    return run


def test_builtin_source(write, tokenizer_folder, tmp_path):
    settings = params({"maths": {"kind": "builtin", "name": "math"}})
    line = write(settings, "maths", tmp_path / "a.parquet")
    assert line == "maths: 4 sequences, 128 tokens, from 4 documents (0 too short)"
    corpus = read_corpus(tmp_path / "a.parquet")
    encoder = load_encoder(str(tokenizer_folder), None, False)
    sheets = documents("math", "calibration", seed=7)
    assert corpus.sequences == [encoder.encode(next(sheets).text)[:32] for _ in range(4)]
    assert corpus.source == ["maths"] * 4
    assert corpus.facts == {
        "name": "maths",
        "source": {"kind": "builtin", "name": "math", "split": "calibration"},
        "dataset": None,
        "revision": None,
        "seed": 7,
        "calibration": {"sequences": 4, "tokens": 32, "fill": 0.5, "seed": 7},
        "counts": {"documents_read": 4, "documents_too_short": 0, "tokens": 128},
        "tokenizer": encoder.fingerprint,
        "special_tokens": {"before": [], "after": []},
    }
    write(settings, "maths", tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_packed_documents(tokenizer_folder, tmp_path):
    """The model's end token follows every document; what was packed is recorded."""
    model = shutil.copytree(tokenizer_folder, tmp_path / "model")
    (model / "config.json").write_text(json.dumps({"eos_token_id": [3, 4]}))
    out, held_out = tmp_path / "a.parquet", tmp_path / "h.parquet"
    tree = params({"maths": {"kind": "builtin", "name": "math"}}).model_dump()
    settings = parse_params(tree | {"calibration": tree["calibration"] | {"packing": True, "tokens": 64}})
    line = calibration.write_sequences(settings, "maths", model, out, held_out, LIMITS)
    encoder = load_encoder(str(tokenizer_folder), None, False)
    sheets = documents("math", "calibration", seed=7)
    stream = [token for _ in range(4) for token in [*encoder.encode(next(sheets).text)[:64], 3]]
    corpus = read_corpus(out)
    assert corpus.sequences == [stream[start : start + 64] for start in range(0, 256, 64)]
    assert line == "maths: 4 sequences, 256 tokens, from 4 documents (0 too short)"
    assert corpus.facts["calibration"]["packing"]
    following = read_corpus(held_out).sequences
    assert following
    stream = [token for _ in range(len(following)) for token in [*encoder.encode(next(sheets).text)[:64], 3]]
    assert following == [stream[start : start + 64] for start in range(0, 64 * len(following), 64)]
    named = parse_params(tree | {"calibration": settings.calibration.model_dump() | {"separator": "<end>"}})
    calibration.write_sequences(named, "maths", model, out, held_out, LIMITS)
    end = encoder.id_of("<end>")
    assert end not in (None, 3)
    assert read_corpus(out).sequences[1][0] == end, "behind the 64 tokens of the first document"
    (model / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"no eos_token_id; set calibration\.separator"):
        calibration.write_sequences(settings, "maths", model, out, held_out, LIMITS)


def test_files_source_skips_short_documents(write, tokenizer_folder, tmp_path):
    texts = [prose(i, 100) for i in range(4)] + ["short"] * 8
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    sources = {"own": {"kind": "files", "paths": [str(tmp_path / "*.jsonl")], "column": "body"}}
    write(params(sources), "own", tmp_path / "o.parquet")
    corpus = read_corpus(tmp_path / "o.parquet")
    encoder = load_encoder(str(tokenizer_folder), None, False)
    assert sorted(corpus.sequences) == sorted(encoder.encode(text)[:32] for text in texts[:4])
    counts = corpus.facts["counts"]
    assert counts["documents_read"] - counts["documents_too_short"] == 4
    with pytest.raises(UserError, match=r"^source '\w+': 4 of 12 documents have at least 16 tokens, but 5 are needed"):
        write(params(sources, sequences=5), "own", tmp_path / "o.parquet")


def test_sequences_are_held_out_that_follow_those_of_the_calibration(write, tokenizer_folder, tmp_path):
    settings = params({"maths": {"kind": "builtin", "name": "math"}})
    write(settings, "maths", tmp_path / "alone.parquet")
    held_out = tmp_path / "more.parquet"
    write(settings, "maths", tmp_path / "a.parquet", held_out)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "alone.parquet").read_bytes()
    encoder = load_encoder(str(tokenizer_folder), None, False)
    sheets = documents("math", "calibration", seed=7)
    expected = [encoder.encode(next(sheets).text)[:32] for _ in range(4 + 8)]
    assert read_corpus(held_out).sequences == expected[4:]
    assert read_corpus(tmp_path / "a.parquet").sequences == expected[:4]


def test_a_source_that_ends_gives_the_held_out_sequences_that_it_has(write, tokenizer_folder, tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": prose(i, 100)}) + "\n" for i in range(6)))
    sources = {"own": {"kind": "files", "paths": [str(tmp_path / "*.jsonl")]}}
    paths = [tmp_path / "o.parquet", tmp_path / "h.parquet"]
    write(params(sources), "own", paths[0], paths[1])
    drawn, held_out = (read_corpus(path).sequences for path in paths)
    assert (len(drawn), len(held_out)) == (4, 2)
    encoder = load_encoder(str(tokenizer_folder), None, False)
    assert sorted(drawn + held_out) == sorted(encoder.encode(prose(i, 100))[:32] for i in range(6))


def test_a_source_with_less_than_all_sequences_needs_what_its_mixes_draw(write, tokenizer_folder, tmp_path):
    texts = [prose(i, 100) for i in range(6)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings = params({"own": {"kind": "files", "paths": [str(tmp_path / "t.jsonl")]}}, sequences=9)
    settings = settings.model_copy(update={"rank": settings.rank.model_copy(update={"sequences": 2})})
    with pytest.raises(UserError, match=r"^source 'own': 6 of 6 documents have at least 16 tokens, but 9 are needed"):
        write(settings, "own", tmp_path / "o.parquet")
    with pytest.raises(UserError, match=r"^source 'own': 6 of 6 documents have at least 16 tokens, but 7 are needed"):
        write(settings, "own", tmp_path / "o.parquet", needed=7)
    for needed, drawn, held_out in ((3, 4, 2), (5, 5, 1), (6, 6, 0)):
        line = write(settings, "own", tmp_path / "o.parquet", needed=needed)
        assert line.endswith(f"; it has no 9, and the mixes need {needed}")
        calibrated = read_corpus(tmp_path / "o.parquet").sequences
        others = read_corpus(tmp_path / "held-out.parquet", may_be_empty=True).sequences
        assert (len(calibrated), len(others)) == (drawn, held_out)
        assert not {*map(tuple, calibrated)} & {*map(tuple, others)}


def test_own_tokens_hold_nothing_out(write, tmp_path):
    write_corpus(tmp_path / "own.parquet", [("x", [1, 2])], {})
    sources = {"own": {"kind": "tokens", "path": str(tmp_path / "own.parquet")}}
    held_out = tmp_path / "h.parquet"
    write(params(sources), "own", tmp_path / "o.parquet", held_out)
    assert read_corpus(held_out, may_be_empty=True).sequences == []
    with pytest.raises(UserError, match="has no rows"):
        read_corpus(held_out)


def test_hub_source_is_read_at_the_recorded_commit(write, tmp_path, monkeypatch):
    asked = []

    def texts(source, seed, part, render):
        asked.append((source.revision, seed))
        return iter([Document(str(i), prose(i, 100)) for i in range(9)])

    monkeypatch.setattr(calibration, "resolved_revision", lambda _: "a" * 40)
    monkeypatch.setattr("ream.calibration.sources.iter_texts", texts)
    settings = params({"c4": {"kind": "hub", "dataset": "allenai/c4", "config": "en"}})
    write(settings, "c4", tmp_path / "o.parquet")
    facts = read_corpus(tmp_path / "o.parquet").facts
    assert asked == [("a" * 40, 7)]
    assert (facts["dataset"], facts["revision"], facts["source"]["revision"]) == ("allenai/c4", "a" * 40, None)


def test_sequences_begin_with_bos_where_the_tokenizer_adds_it(tokenizer_folder, tmp_path):
    content = json.loads((tokenizer_folder / "tokenizer.json").read_text())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<end>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<end>": {"id": "<end>", "ids": [0], "tokens": ["<end>"]}},
    }
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(content))
    rows, lines, facts = {}, {}, {}
    for setting in ("tokenizer", "none"):
        settings = params({"maths": {"kind": "builtin", "name": "math"}}, special_tokens=setting)
        paths = tmp_path / f"{setting}.parquet", tmp_path / f"{setting}-held-out.parquet"
        lines[setting] = calibration.write_sequences(settings, "maths", folder, *paths, LIMITS)
        facts[setting] = read_corpus(paths[0]).facts["special_tokens"]
        rows[setting] = [ids for path in paths for ids in read_corpus(path).sequences]
    assert len(rows["none"]) == 4 + 8
    assert rows["tokenizer"] == [[0, *ids[:31]] for ids in rows["none"]]
    assert facts == {"tokenizer": {"before": [0], "after": []}, "none": {"before": [], "after": []}}
    assert lines["tokenizer"].endswith("(0 too short); special tokens of each text: 1 before")
    assert lines["none"].endswith("(0 too short)")


def test_text_that_the_model_cannot_read_is_refused(tokenizer_folder, tmp_path):
    settings, paths = params({"maths": {"kind": "builtin", "name": "math"}}), (tmp_path / "a", tmp_path / "b")
    with pytest.raises(UserError, match=r"^calibration\.tokens: 32 is more than the model's 31 positions"):
        calibration.write_sequences(settings, "maths", tokenizer_folder, *paths, Limits(340, 31))
    with pytest.raises(UserError, match=r"gives the token id \d+, but the model has embeddings for 50 \(vocab_size"):
        calibration.write_sequences(settings, "maths", tokenizer_folder, *paths, Limits(50, 32))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no tokenizer .*, so text cannot be encoded"):
        calibration.write_sequences(settings, "maths", tmp_path / "empty", *paths, LIMITS)
    assert not any(path.exists() for path in paths)


def test_own_tokens_need_no_tokenizer(tmp_path):
    write_corpus(tmp_path / "own.parquet", [("x", [1, 339])], {})
    settings = params({"own": {"kind": "tokens", "path": str(tmp_path / "own.parquet")}})
    (tmp_path / "model").mkdir()
    calibration.write_sequences(settings, "own", tmp_path / "model", tmp_path / "o", tmp_path / "h", LIMITS)
    assert read_corpus(tmp_path / "o").sequences == [[1, 339]]
    assert read_corpus(tmp_path / "o").facts["tokenizer"] is None


def test_own_tokens_pass_through(write, tmp_path):
    """No fill rule and no limit: one token is a sequence, 50 are, and all rows are taken."""
    rows = [("a", [1]), ("b", list(range(50))), ("a", [339, 0])] * 3
    write_corpus(tmp_path / "own.parquet", rows, {})
    own = {"kind": "tokens", "path": str(tmp_path / "own.parquet")}
    settings = params({"all": own, "some": {**own, "source": "a"}, "none": {**own, "source": "c"}})
    line = write(settings, "all", tmp_path / "o.parquet")
    assert line == "all: 9 sequences, 159 tokens, from 9 documents (0 too short)"
    corpus = read_corpus(tmp_path / "o.parquet")
    assert list(zip(corpus.source, corpus.sequences, strict=True)) == rows
    assert corpus.facts["dataset"] == str(tmp_path / "own.parquet")
    write(settings, "some", tmp_path / "o.parquet")
    assert read_corpus(tmp_path / "o.parquet").sequences == [[1], [339, 0]] * 3
    with pytest.raises(UserError, match=r"source 'c' is unknown; the file has: a, b"):
        write(settings, "none", tmp_path / "o.parquet")


def test_own_tokens_outside_the_vocabulary(write, tmp_path):
    write_corpus(tmp_path / "own.parquet", [("a", [1]), ("a", [2, 340])], {})
    settings = params({"own": {"kind": "tokens", "path": str(tmp_path / "own.parquet")}})
    with pytest.raises(UserError, match=r"own\.parquet, row 2: token id 340 is outside the model's vocabulary of 340"):
        write(settings, "own", tmp_path / "o.parquet")
    assert not (tmp_path / "o.parquet").exists()


def test_unknown_source(write, tmp_path):
    settings = params({"maths": {"kind": "builtin", "name": "math"}})
    with pytest.raises(UserError, match=r"source 'math' is unknown; did you mean 'maths'\?"):
        write(settings, "math", tmp_path / "o.parquet")


def conversations(count, turns):
    roles = ("user", "assistant")
    return [
        [{"role": roles[turn % 2], "content": prose(number * turns + turn, 40)} for turn in range(turns)]
        for number in range(count)
    ]


def test_conversations_give_long_sequences_through_the_models_template(tokenizer_folder, tmp_path):
    """As for an agentic model: each conversation gives windows of 300 tokens, rendered by hand here."""
    folder = shutil.copytree(tokenizer_folder, tmp_path / "model")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    chats = conversations(6, 16)
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    source = {"kind": "files", "paths": [str(tmp_path / "chats.jsonl")], "column": "messages", "windows": "all"}
    settings, limits = params({"chats": source}, sequences=8, tokens=300), Limits(340, 4096)
    out, held_out = tmp_path / "o.parquet", tmp_path / "h.parquet"
    calibration.write_sequences(settings, "chats", folder, out, held_out, limits)
    corpus, encode = read_corpus(out), load_encoder(str(folder), None, False).plain
    texts = ["".join(f"<{turn['role']}>{turn['content']}<end>" for turn in chat) for chat in chats]
    windows = [ids[at : at + 300] for ids in map(encode, texts) for at in range(0, len(ids), 300)]
    assert len(corpus.sequences) == 8
    assert all(ids in windows and len(ids) >= 150 for ids in corpus.sequences)
    assert sum(len(ids) == 300 for ids in corpus.sequences) >= 4
    assert corpus.facts["chat_template"] == hashlib.sha256(template.encode()).hexdigest()
    assert load_encoder(str(folder), None, False).plain("<end>") == [0], "the template's sign is one token"


def test_held_out_sequences_of_a_divided_source_come_from_its_held_out_text(write, tokenizer_folder, tmp_path):
    texts = [prose(number, 60) for number in range(60)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    source = {"kind": "files", "paths": [str(tmp_path / "t.jsonl")], "held_out": 0.2}
    tree = params({"own": source}, sequences=20)
    write(tree, "own", tmp_path / "o.parquet", tmp_path / "h.parquet")
    encode = load_encoder(str(tokenizer_folder), None, False).encode
    inside = [encode(text)[:32] for text in texts if rank(text) < 0.2]
    outside = [encode(text)[:32] for text in texts if rank(text) >= 0.2]
    assert all(ids in outside for ids in read_corpus(tmp_path / "o.parquet").sequences)
    held_out = read_corpus(tmp_path / "h.parquet").sequences
    assert len(held_out) == tree.rank.sequences == 8
    assert all(ids in inside for ids in held_out)
