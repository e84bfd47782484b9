"""`dvc repro` after one edit after the other runs exactly the stages that it must; docs/graph.md says which."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc.stage import run as dvc_run

from ream.code import libraries
from ream.commands.stage import run_stage
from ream.stages import code as stage_code
from ream.stages.report import results
from ream.workspace import codes
from ream.workspace.layout import Workspace
from tests.graph_edits import ALL, EDITS
from tests.graphs import PUBLISHED, ROOT, build_graph

DOCS = ROOT / "docs" / "graph.md"


def graph_to_edit(folder: Path) -> Path:
    """The tiny graph with its own copies of the code and the published numbers."""
    build_graph(folder)
    (folder / "ream").unlink()
    shutil.copytree(ROOT / "ream", folder / "ream", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PUBLISHED, folder / "published")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace(PUBLISHED, "published"))
    return folder


@pytest.fixture
def repro(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """`dvc repro` on a graph in the working directory, which runs the stages in this process; returns their names."""
    ran: set[str] = set()

    def run(executable: str | None, command: str, **settings: dict[str, str]) -> None:
        words = shlex.split(command)
        given = dict(zip((word.removeprefix("--") for word in words[3::2]), words[4::2], strict=True))
        options = given | ({"experts": int(given["experts"])} if "experts" in given else {})
        ran.add(settings["env"]["DVC_STAGE"])
        run_stage(words[2], options, Path("params.yaml"), Workspace(Path("artifacts")))

    folder, version = graph_to_edit(tmp_path / "graph"), libraries._version
    installed = folder / "installed.json"

    def looked_up(name: str) -> str | None:
        known = json.loads(installed.read_text()) if installed.exists() else {}
        return known.get(name) or version(name)

    monkeypatch.chdir(folder)
    monkeypatch.setattr(dvc_run, "_run", run)
    monkeypatch.setattr(codes, "PACKAGE", folder / "ream")
    monkeypatch.setattr(stage_code, "PACKAGE", folder / "ream")
    monkeypatch.setattr(libraries, "_version", looked_up)
    monkeypatch.setattr(results, "imported_rows", lambda *_: [])  # the tiny suite has no task to compare

    def once() -> set[str]:
        ran.clear()
        with Repo(os.curdir) as repo:
            repo.reproduce()
        return ran - {"names"}  # which runs after any change of a name; docs/graph.md leaves it out

    return once


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_edit_runs_exactly_what_depends_on_it(repro: Callable[[], set[str]]) -> None:
    assert len(EDITS) >= 25
    assert repro() == ALL
    assert repro() == set(), "nothing has changed"
    for edit in EDITS:
        edit.make(Path.cwd())
        assert repro() == edit.runs, edit.what
        assert repro() == set(), f"{edit.what}: nothing more has changed"


def test_the_docs_have_the_edits() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    expected = [(edit.what, edit.shown) for edit in EDITS]
    assert [row for row in rows if row in expected] == expected, "\n".join(f"| {a} | {b} |" for a, b in expected)
