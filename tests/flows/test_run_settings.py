"""Settings in the parameters of a run: what executes code, and what lies outside of the workspace, is refused."""

import pytest
import yaml

from flows.params_file import change_params
from ream.errors import UserError
from tests.graphs import ROOT
from tests.subsets import some_slow


@pytest.fixture
def path(tmp_path):
    """A copy of the repository's own params.yaml, and a folder outside of its workspace."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    copy = tmp_path / "root" / "params.yaml"
    copy.write_text((ROOT / "params.yaml").read_text())
    return copy


def files(*paths):
    return {"kind": "files", "paths": list(paths)}


REFUSED = {
    "the issue's attack": {"model.path": "evil/model", "model.trust_remote_code": True},
    "code of the model": {"model.trust_remote_code": True},
    "code as a text": {"model.trust_remote_code": "yes"},
    "the whole section": {"model": {"path": "evil/model", "trust_remote_code": True}},
    "code that a model writes": {"evaluation.allow_code_execution": True},
    "task files": {"evaluation.include": "data"},
    "the section of evaluation": {"evaluation": {"suite": "demo", "include": "/tmp", "seed": 0}},
    "a model elsewhere": {"model.path": "/etc"},
    "a model above": {"model.path": "../outside"},
    "a model behind a link": {"model.path": "link"},
    "a home folder": {"model.path": "~root/x"},
    "a local folder": {"local.more": "/etc"},
    "the section local": {"local": {"model": "/etc"}},
    "a source": {"sources.mine": files("/etc/passwd")},
    "a pattern": {"sources.mine": files("/e*/passwd")},
    "a pattern above": {"sources.mine": files("*/../../outside/*.txt")},
    "a pattern behind a link": {"sources.mine": files("link/*.txt")},
    "the second of two": {"sources.mine": files("data/x.txt", "/etc/passwd")},
    "tokens": {"sources.mine": {"kind": "tokens", "path": "/tmp/x.parquet"}},
    "a data set in a folder": {"sources.mine": {"kind": "hub", "dataset": "/tmp/data"}},
    "published numbers": {"report.published": "/etc"},
    "an import": {"imports.mine": {"path": "/etc/x.csv"}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_run_cannot_execute_code_or_leave_the_workspace(name, path):
    before = path.read_text()
    with pytest.raises(UserError, match=r"edit params\.yaml by hand"):
        change_params(path, {"calibration.seed": 3, **REFUSED[name]})
    assert path.read_text() == before


@pytest.mark.parametrize(
    "setting",
    some_slow(["model.trust_remote_code", "evaluation.allow_code_execution"], keep=["model.trust_remote_code"]),
)
def test_what_was_allowed_by_hand_is_not_extended_to_another_model(setting, path):
    tree = yaml.safe_load(path.read_text())
    section, _, key = setting.partition(".")
    tree[section][key] = True
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    with pytest.raises(UserError, match=rf"model.path: {setting} is true, which a run cannot extend to another model"):
        change_params(path, {"model.path": "evil/model"})
    change_params(path, {"calibration.seed": 3, setting: True})
    change_params(path, {setting: False})
    change_params(path, {"model.path": "good/model"})
    with pytest.raises(UserError, match="a run cannot allow that code is executed"):
        change_params(path, {setting: True})


def test_what_else_a_run_may_change(path):
    """A path that was set by hand stays allowed, and hub ids are no paths."""
    path.write_text(
        path.read_text().replace("published: data/published\n\ncompute", "published: /srv/numbers\n\ncompute")
    )
    changes = {
        "model.path": "Qwen/Qwen3-30B-A3B-Instruct-2507@main",
        "local.more": "data/more",
        "sources.mine": files("data/*/x.txt", "/srv/numbers"),
        "sources.theirs": {"kind": "hub", "dataset": "allenai/c4"},
        "mixes.balanced.code": 0.5,
    }
    change_params(path, changes)
    after = yaml.safe_load(path.read_text())
    assert after["model"]["path"] == changes["model.path"]
    assert after["sources"]["mine"] == changes["sources.mine"]
    assert after["local"]["published"] == "/srv/numbers"
