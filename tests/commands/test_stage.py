"""The table of stages: which options each stage takes, and which stages can run distributed."""

import json

import pytest

from ream.commands.stage import run_stage
from ream.commands.stage_entries import STAGES, StageEntry
from ream.errors import UserError
from ream.stages import saliency
from ream.workspace import codes
from ream.workspace.layout import Workspace
from tests.tiny import ROOT, write_params


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        ("saliency", {}, "stage saliency takes --mix; given: none"),
        ("saliency", {"mix": "a", "method": "b"}, "stage saliency takes --mix; given: --mix --method"),
        ("items", {"mix": "a"}, "stage items takes no options; given: --mix"),
        ("evaluate", {"method": "a"}, "stage evaluate takes [--mix --method --experts]; given: --method"),
        (
            "statistics",
            {"source": "a", "shards": 2},
            "stage statistics takes --source [--shard --shards]; given: --source --shards",
        ),
    ],
)
def test_missing_and_superfluous_options_are_refused(name, given, line, tmp_path):
    with pytest.raises(UserError) as caught:
        run_stage(name, given, ROOT / "params.yaml", Workspace(tmp_path))
    assert str(caught.value) == line


def test_optional_options_are_given_together_or_not_at_all():
    entry = StageEntry(("a",), optional=("b", "c"))
    for given in (["a"], ["a", "b", "c"]):
        entry.check("s", given)
    for given in ([], ["a", "b"], ["b", "c"], ["a", "b", "c", "d"]):
        with pytest.raises(UserError, match="stage s takes"):
            entry.check("s", given)


def test_two_stages_run_distributed():
    assert [name for name, entry in STAGES.items() if entry.distributed] == ["statistics", "sequential"]


def changed_while_it_runs(path, workspace):
    """A stage that writes its result, and whose mix is changed before it ends."""

    def run(params, workspace, options):
        workspace.saliency(options.mix).parent.mkdir(parents=True)
        workspace.saliency(options.mix).write_text("made with the former ratios")
        path.write_text(path.read_text().replace("a: 0.5", "a: 0.9"))
        return "done"

    return run


def test_a_mix_changed_while_its_stage_runs_leaves_no_result(tmp_path, monkeypatch):
    path, workspace = write_params(tmp_path), Workspace(tmp_path / "artifacts")
    monkeypatch.setattr(saliency, "run", changed_while_it_runs(path, workspace))
    with pytest.raises(UserError, match=r"changed while saliency@balanced ran \(mixes.balanced.a 0.5 → 0.9\)"):
        run_stage("saliency", {"mix": "balanced"}, path, workspace)
    assert not workspace.saliency("balanced").exists()
    assert json.loads(workspace.ran_with("saliency-balanced").read_text()) == {"mixes.balanced": {"a": 0.5, "b": 0.5}}


def test_a_stage_runs_with_the_code_that_is_recorded(tmp_path):
    """A recorded unit or version that differs is named; the stage does nothing."""
    path, workspace = write_params(tmp_path), Workspace(tmp_path / "artifacts")
    run_stage("code", {}, path, workspace)
    record = workspace.code("saliency")
    kept = json.loads(record.read_text())
    other = kept | {"units": kept["units"] | {"ream.core.saliency.reap": "another"}}
    for change, named in (
        (other, "ream.core.saliency.reap changed"),
        (kept | {"libraries": {"numpy": "0.1"}}, r"numpy 0.1 → "),
    ):
        record.write_text(json.dumps(change))
        with pytest.raises(UserError, match=f"is of other code than what would run now \\({named}"):
            run_stage("saliency", {"mix": "balanced"}, path, workspace)
    record.write_text(json.dumps(kept))
    with pytest.raises(UserError, match=r"manifest\.json does not exist"):
        run_stage("saliency", {"mix": "balanced"}, path, workspace)


def test_code_that_changes_while_a_stage_runs_leaves_no_result(tmp_path, monkeypatch):
    path, workspace = write_params(tmp_path), Workspace(tmp_path / "artifacts")
    prints = iter([{"units": {}, "libraries": {}}, {"units": {"a": "b"}, "libraries": {}}])
    monkeypatch.setattr(codes, "fingerprint_of", lambda *kinds: next(prints))

    def run(params, workspace, options):
        workspace.saliency(options.mix).parent.mkdir(parents=True)
        workspace.saliency(options.mix).write_text("made with unknown code")
        return "done"

    monkeypatch.setattr(saliency, "run", run)
    with pytest.raises(UserError, match="the code of ream changed while saliency@balanced ran"):
        run_stage("saliency", {"mix": "balanced"}, path, workspace)
    assert not workspace.saliency("balanced").exists()
