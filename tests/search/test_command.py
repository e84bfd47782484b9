"""`ream search` from end to end, and the mixes that it writes into a params file."""

import json
from pathlib import Path

import pytest
import yaml

from ream.commands.adopting import adopt, check_adoptable
from ream.commands.search import search as command
from ream.errors import UserError
from ream.search.records import Estimate, MixRecord, SearchRecord, Target, read_record, read_trials
from tests import tiny
from tests.search.prepared import SEARCH


def settings(folder):
    """A params file with a comment, and a file of own text."""
    tree = yaml.safe_load(tiny.write_params(folder, documents_each=60).read_text())
    tree |= {"search": SEARCH, "rank": {"sequences": 2}}
    path = folder / "params.yaml"
    path.write_text("# my settings\n" + yaml.safe_dump(tree, sort_keys=False))
    own = folder / "my notes.jsonl"
    own.write_text("".join(json.dumps({"text": text}) + "\n" for text in tiny.documents(7, 60)))
    return path, own


@pytest.mark.slow
def test_own_text_is_mixed_and_the_answer_adopted(checkpoint, tmp_path, capsys):
    path, own = settings(tmp_path / "settings")
    out = tmp_path / "found"
    command(
        str(checkpoint), 4, objectives="a,my-notes", trials=7, text=[str(own)],
        target="0.7 my-notes + 0.3 a", adopt=True, out=out, settings=["compute.device=cpu"], params=path,
    )  # fmt: skip
    record, printed = read_record(out / "search.json"), capsys.readouterr().out
    assert record.sources == ["a", "b", "my-notes"]
    assert record.objectives == ["a", "my-notes"]
    assert len(read_trials(out / "trials.parquet")) == 7
    assert (out / "figures" / "search-ternary-reap-4.svg").exists()
    assert f"for 0.7 my-notes + 0.3 a: {record.target.mix}" in printed
    text = path.read_text()
    assert text.startswith("# my settings\n")
    tree = yaml.safe_load(text)
    chosen = next(mix for mix in record.mixes if mix.name == record.target.mix)
    assert tree["mixes"][chosen.name] == {source: ratio for source, ratio in chosen.ratios.items() if ratio > 0}
    assert tree["sources"]["my-notes"] == {
        "kind": "files", "paths": [str(own)], "windows": "all", "held_out": 0.1,
    }  # fmt: skip
    assert tree["mixes"]["balanced"] == {"a": 0.5, "b": 0.5}


def refused(message, **given):
    with pytest.raises(UserError, match=message):
        command(**{"model": "nothing", "experts": 4, "params": None} | given)


def test_what_cannot_be_searched_is_refused_at_once(checkpoint, tmp_path, monkeypatch):
    path, own = settings(tmp_path / "settings")
    own_text = tmp_path / "a.txt"
    own_text.write_text("text")
    every = {"model": str(checkpoint), "params": path, "out": tmp_path / "out"}
    refused("objective 'cod' is unknown", **every, objectives="a,cod")
    refused("objectives has .'a'. alone", **every, objectives="a")
    refused("--objectives: 'a,,b' is not a list", **every, objectives="a,,b")
    refused("target: 'x' is not a number", **every, target="x a")
    refused("search.target: objective 'c' is unknown", **every, target="c")
    refused("--text: .* does not exist", **every, text=[str(tmp_path / "none.txt")])
    refused("has a source 'a' already", **every, text=[str(own_text)])
    refused("is given twice", **every, text=[str(own), str(own)])
    refused("needs two sources", **every, sources="a")
    refused("16 is more than the 8|experts", **(every | {"experts": 16}))
    monkeypatch.chdir(tmp_path)
    for shipped in (None, Path("qwen3-30b-a3b")):
        refused("--adopt writes the mixes into a params file of your own", adopt=True, params=shipped)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    refused("holds something else than a search", **every)


MIXES = {"a": 0.25, "b": 0.75}, {"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 0.5}, {"a": 0.0, "b": 1.0}


def record(target=None):
    """Of a search; the last mix is not on its front."""
    mixes = [
        MixRecord(
            trial=number, name=f"reap-4-{number}", written="x", origin="found", ratios=ratios, front=number < 3,
            search={"a": float(number), "b": -float(number)},
        )
        for number, ratios in enumerate(MIXES)
    ]  # fmt: skip
    return SearchRecord(
        method="reap", relative=False, experts=4, sources=["a", "b"], objectives=["a", "b"], measure="loss", trials=4,
        seed=0, sequences=(4, 4), mixes=mixes, target=target,
    )  # fmt: skip


def test_the_front_or_the_answer_is_adopted_and_comments_stay(tmp_path):
    path, _ = settings(tmp_path)
    text = path.read_text().replace("mixes:\n", "mixes: # of mine\n")
    path.write_text(text)
    assert adopt(path, record(), {}) == ["reap-4-0", "reap-4-1", "reap-4-2"]
    changed = path.read_text()
    assert "mixes: # of mine\n" in changed
    mixes = yaml.safe_load(changed)["mixes"]
    assert mixes["reap-4-0"] == {"a": 0.25, "b": 0.75}
    assert mixes["reap-4-1"] == {"a": 1.0}
    assert "reap-4-3" not in mixes
    path.write_text(text)
    answer = Target(weights={"a": 1.0}, mix="reap-4-2", search=1.0, final=Estimate(value=1.0))
    assert adopt(path, record(answer), {}) == ["reap-4-2"]
    left = yaml.safe_load(path.read_text())
    assert left["mixes"].keys() == {"balanced", "leaning", "reap-4-2"}


def test_nothing_is_written_that_would_not_be_valid(tmp_path):
    path, _ = settings(tmp_path)
    before = path.read_text()
    with pytest.raises(UserError, match="has another source 'a'"):
        adopt(path, record(), {"a": {"kind": "files", "paths": ["other.txt"]}})
    with pytest.raises(UserError):
        adopt(path, record(), {"c": {"kind": "nonsense"}})
    path.write_text("mixes: [")
    with pytest.raises(UserError, match="is not valid YAML"):
        adopt(path, record(), {})
    path.write_text(before)
    check_adoptable(path, path)
