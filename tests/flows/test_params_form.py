"""Params files are in the form in which DVC and the flow leave them, so that a change is a change of one line."""

import difflib
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from typer.testing import CliRunner

from flows.__main__ import app
from flows.params_file import change_params
from flows.params_form import tidy
from ream.errors import UserError
from ream.params.written_out import written_out
from tests.graphs import ROOT
from tests.subsets import some_slow

FILES = {
    str(path.relative_to(ROOT)): path for path in (ROOT / "params.yaml", *sorted((ROOT / "params").glob("*.yaml")))
}
SOME = ("params.yaml", "params/mixtral-8x7b.yaml", "params/paper-demo.yaml")
COMMAND = "python -m flows tidy"


def by_dvc(path, name, value):
    """What `dvc exp run -S NAME=VALUE` does to a params file."""
    apply_overrides(path, [f"{name}={value}"])


def by_the_flow(path, name, value):
    """What `python -m flows run -S NAME=VALUE` does to a params file."""
    change_params(path, {name: value})


def changes(before, after):
    """The lines that differ, old ones with a minus."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:2] not in ("--", "++", "@@")]


def numbers(tree, parents=()):
    """Dotted name and value of each number that is not in a list; DVC cannot name the integer keys."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from numbers(value, (*parents, key))
        elif isinstance(value, int | float) and not isinstance(value, bool) and not isinstance(key, int):
            yield ".".join((*parents, key)), value


@pytest.fixture
def copy(tmp_path):
    """Copies a params file of the repository, or writes a text, as params.yaml."""

    def make(source):
        path = tmp_path / "params.yaml"
        path.write_text(source.read_text() if isinstance(source, Path) else source)
        return path

    return make


@pytest.mark.parametrize("name", some_slow(FILES, keep=SOME))
@pytest.mark.parametrize("write", [by_dvc, by_the_flow])
def test_a_file_stays_as_it_is_and_a_new_value_changes_its_line(copy, name, write):
    text = written_out(FILES[name])  # as a workspace has it
    tree = yaml.safe_load(text)
    path = copy(text)
    write(path, "calibration.seed", tree["calibration"]["seed"])
    assert changes(text, path.read_text()) == [], f"{name} is not in the form in which DVC leaves it; run `{COMMAND}`"
    source = next(iter(tree["mixes"]["balanced"]))
    for key, value in (("calibration.seed", 12345), (f"mixes.balanced.{source}", 0.125)):
        before = path.read_text()
        write(path, key, value)
        removed, added = changes(before, path.read_text())
        assert removed[0] + added[0] == "-+"
        assert str(value) in added, f"run `{COMMAND}`"
        assert added.partition(" #")[2] == removed.partition(" #")[2], "its comment stays"


@pytest.mark.slow
def test_every_number_of_params_yaml_changes_its_line(copy):
    path = copy(ROOT / "params.yaml")
    before, checked = path.read_text(), 0
    for name, value in numbers(yaml.safe_load(before)):
        by_dvc(path, name, value + 1)
        assert len(changes(before, path.read_text())) == 2, f"{name}: run `{COMMAND}`"
        by_dvc(path, name, value)
        assert path.read_text() == before
        checked += 1
    assert checked > 15


def test_tidying_a_tidy_file_changes_nothing():
    text = (ROOT / "params.yaml").read_text()
    assert tidy(text, "params.yaml") == text, f"run `{COMMAND}`"


WILD = """\
# All settings

calibration:
  seed: 0    # of the draw
  # tokens: 512

methods: # those of the paper
  ream: &ream
    grouping: 'pseudo'
    similarity: [gate-logits, gated-output] # both
    sequential: true
  # Ablations
  half: { <<: *ream, similarity: [gated-output] } # one
  other: { grouping: a-name-that-is-long, saliency: another-name-that-is-long, sequential: false, more: "# no comment" }
  same: *ream

run:
  rank: &all
    - balanced
    - code
  mixes: *all
  seed: null # none

"""
TIDY = """\
# All settings

calibration:
  seed: 0 # of the draw
  # tokens: 512

methods: # those of the paper
  ream:
    grouping: pseudo
    similarity: # both
    - gate-logits
    - gated-output
    sequential: true
  # Ablations
  half: {grouping: pseudo, similarity: [gated-output], sequential: true} # one
  other:
    grouping: a-name-that-is-long
    saliency: another-name-that-is-long
    sequential: false
    more: '# no comment'
  same:
    grouping: pseudo
    similarity:
    - gate-logits
    - gated-output
    sequential: true

run:
  rank:
  - balanced
  - code
  mixes:
  - balanced
  - code
  seed: # none
"""


def test_tidying_by_hand(copy):
    assert tidy(WILD, "params.yaml") == TIDY
    assert tidy(TIDY, "params.yaml") == TIDY
    path = copy(TIDY)
    by_dvc(path, "calibration.seed", 0)
    assert path.read_text() == TIDY
    assert yaml.safe_load(TIDY) == yaml.safe_load(WILD)


@pytest.mark.parametrize(
    ("text", "line", "comment"),
    [
        ("a:\n- 1\n# after\nb: 2\n", 3, "# after"),
        ("a:\n- 1 # one\n- 2 # two\nb: 2\n", 3, "# two"),
        ("a:\n- 1\n# inside\n- 2\nb: 2\n", 3, "# inside"),
        ("a: [1]\n# tail\n", 2, "# tail"),
    ],
)
def test_comments_that_dvc_would_lose_are_refused(copy, text, line, comment):
    with pytest.raises(UserError, match=rf"params.yaml, line {line}: DVC would lose '{comment}'"):
        tidy(text, "params.yaml")
    path = copy(text.replace("a:", "c: 1\na:", 1))
    by_dvc(path, "c", 1)
    by_dvc(path, "c", 1)  # a comment after [1] is lost when the list has become a block
    assert comment not in path.read_text(), "DVC does lose it"


def test_the_command_rewrites_files_and_names_them(copy):
    path = copy(WILD)
    for said in ("rewritten", "in form"):
        result = CliRunner().invoke(app, ["tidy", str(path)])
        assert result.output == f"{path}: {said}\n"
        assert path.read_text() == TIDY


@pytest.mark.parametrize(
    ("text", "message"), [(None, "does not exist; name a params file"), ("a: [1", "is not valid YAML")]
)
def test_the_command_refuses_what_it_cannot_read(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    result = CliRunner().invoke(app, ["tidy", str(path)])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_a_file_that_is_not_yaml_is_refused(copy):
    with pytest.raises(UserError, match=r"is not valid YAML: .*; correct it first"):
        change_params(copy("a: [1"), {"a": 1})
