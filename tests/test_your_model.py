"""docs/your-model.md, command by command: on a tiny model and generated text, its numbers made small."""

import json
import os
import random
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ream.commands import cli
from ream.params import load_params
from ream.recipe.provenance import provenance
from ream.recipe.verify import verify
from tests import tiny
from tests.tiny import ROOT

PAGE = (ROOT / "docs" / "your-model.md").read_text(encoding="utf-8")
LANGUAGE = [
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
# Numbers for a model of 128 experts, and what they are here.
SMALL = {
    "--experts 96": "--experts 6",
    "--tokens 2048": "--tokens 128",
    "--tokens 512": "--tokens 64",
    "--tokens 4096": "--tokens 96",
    "--sequences 256": "--sequences 8",
    "--sequences 64": "--sequences 4",
}
SETTINGS = {"experts: [96]": "experts: [6]", "{ 96: 16 }": "{ 6: 2 }", "sequences: 256": "sequences: 8",
            "tokens: 512": "tokens: 64"}  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.splitlines()]


def words(generator, count):
    return " ".join(generator.choice(LANGUAGE) for _ in range(count))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the page expects: a model, notes, problems and conversations; and its params file."""
    generator = random.Random(0)
    model = tiny.build(tmp_path / "my-model")
    (model / "chat_template.jinja").write_text("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}")
    (tmp_path / "notes").mkdir()
    for number in range(30):
        (tmp_path / "notes" / f"{number}.md").write_text(words(generator, 200))
    (tmp_path / "notes" / "book.txt").write_text("\n\n".join(words(generator, 90) for _ in range(300)))
    problems = [{"problem": "1 + 1", "solution": words(generator, 100)} for _ in range(60)]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    turns = [("user", "assistant")[number % 2] for number in range(6)]
    chats = [{"messages": [{"role": role, "content": words(generator, 20)} for role in turns]} for _ in range(30)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    (text,) = blocks("yaml")
    for large, small in SETTINGS.items():
        assert large in text
        text = text.replace(large, small)
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a line of the page, with small numbers, and returns what it prints."""

    def ream(line):
        for large, small in SMALL.items():
            line = re.sub(rf"{large}\b", small, line)
        monkeypatch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        assert not end.value.code, f"{line}\n{printed.err}"
        return printed.out

    return ream


def test_every_command_of_the_page_works(folder, run):
    assert len(COMMANDS) > 8
    assert all(any(re.search(rf"{large}\b", line) for line in COMMANDS) for large in SMALL)
    said = {line: run(line) for line in COMMANDS}
    facts = provenance(folder / "my-model-96")
    assert (facts.original, facts.method, facts.experts, facts.mix) == ("my-model", "reap", 6, "own")
    assert facts.ratios == {"notes": 0.5, "math": 0.5}
    assert provenance(folder / "my-model-mixed").ratios == {"notes": 0.7, "math": 0.3}
    assert provenance(folder / "my-model-chat").ratios == {"chats": 1.0}
    assert (provenance(folder / "my-model-file").tokens, provenance(folder / "my-model-file").mix) == (64, "balanced")
    for name in ("my-model-96", "my-model-chat", "my-model-file"):
        assert verify(folder / name)["experts"].startswith("6 in each of 3 layers")
    scores = json.loads((folder / "scores.json").read_text())
    (cell,) = scores["cells"]
    assert (cell["method"], cell["mix"], cell["experts"]) == ("reap", "own", 6)
    assert set(cell["loss"]) == {"notes", "math"}
    assert all(2 <= loss["sequences"] <= 10 for loss in cell["loss"].values())
    assert cell["tasks"] == {}
    assert scores["settings"]["model"]["made"]["original"] == "my-model"
    evaluated = next(text for line, text in said.items() if line.startswith("ream evaluate my-model-96"))
    assert "6 of 8 experts a layer of my-model, by reap on mix own (math 0.50, notes 0.50)" in evaluated
    compared = next(text for line, text in said.items() if line.startswith("ream compare"))
    assert re.search(r"^notes +0\.\d+ \[", compared, re.MULTILINE)
    assert "calibration" in said["ream params show mine.yaml"]
    written = folder / "work" / "params.yaml"
    params, mine = load_params(written), load_params(folder / "mine.yaml")
    assert params.sources["notes"].paths == [str(folder / "notes")]
    assert (params.mixes, params.methods, params.calibration) == (mine.mixes, mine.methods, mine.calibration)
    assert (params.local["notes"], params.local["model"]) == (str(folder / "notes"), str(folder / "my-model"))
    assert "extends" not in yaml.safe_load(written.read_text())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "dvc", "repro", "calibration@notes", "items"]
    done = subprocess.run(command, cwd=folder / "work", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ windows of 256 tokens of notes", done.stdout)
    assert re.search(r"notes: 8 sequences, 512 tokens", done.stdout)
