"""The README shows the graph of dvc.yaml."""

import pytest
from typer.testing import CliRunner

from flows.__main__ import app
from flows.diagram import BEGIN, END, diagram, put_into
from ream.errors import UserError
from tests.graphs import ROOT, dvc
from tests.views import git


def test_the_readme_agrees_with_dvc_yaml():
    text = (ROOT / "README.md").read_text()
    assert put_into(text, diagram(ROOT), "README.md") == text, "run `python -m flows graph --into README.md`"


@pytest.fixture
def folder(tmp_path):
    """Two texts, a count of each, and a sum of the counts, which needs the texts, too."""
    (tmp_path / "params.yaml").write_text("names: [x, y]\nnone: []\nexports: {one: 1}\n")
    (tmp_path / "dvc.yaml").write_text("""
stages:
  text: {matrix: {name: "${names}", again: [1]}, cmd: make, outs: ["texts/${item.name}"]}
  count: {matrix: {name: "${names}"}, cmd: wc, deps: ["texts/${item.name}"], outs: ["counts/${item.name}"]}
  extra: {matrix: {name: "${none}"}, cmd: wc, outs: ["extra/${item.name}"]}
  all-sums: {cmd: sum, deps: [counts, texts], outs: [sum]}
  end: {foreach: "${exports}", do: {cmd: end, deps: [sum], outs: ["end/${key}"]}}
""")
    git(tmp_path, "init", "-q")
    dvc(tmp_path, "init", "-q")
    return tmp_path


def test_kinds_and_what_each_needs_by_hand(folder):
    assert diagram(folder) == "\n".join(
        [
            "```mermaid",
            "graph LR",
            '    text_["text<br><i>name × again</i>"]',
            '    count_["count<br><i>name</i>"]',
            '    all_sums_["all-sums"]',
            '    end_["end<br><i>exports</i>"]',
            "    text_ --> count_",
            "    count_ --> all_sums_",
            "    all_sums_ --> end_",
            "```",
        ]
    )


def test_the_command_prints_it_or_puts_it_into_a_page(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert CliRunner().invoke(app, ["graph"]).output == f"{diagram(folder)}\n"
    page = folder / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        assert CliRunner().invoke(app, ["graph", "--into", str(page)]).exit_code == 0
        assert page.read_text() == f"before\n{BEGIN}\n{diagram(folder)}\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_page_without_the_marks_is_refused(text):
    with pytest.raises(UserError, match=r"page.md has no place for the graph"):
        put_into(text, "graph", "page.md")
