"""`ream init`: a workspace whose graph is the repository's, on one's own model."""

import sys

import pytest
import yaml

from ream.commands import cli
from ream.commands.init import ASKS, WATCHES
from ream.params import load_params
from ream.params.agreed import agreed_params
from ream.params.written_out import resolve
from tests import tiny
from tests.graphs import dvc
from tests.models.families import build
from tests.tiny import ROOT


@pytest.fixture
def init(monkeypatch, capsys, tmp_path):
    """Runs `ream init work ...` in an empty folder: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ream", "init", "work", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


def test_the_graph_is_the_repositorys_but_for_its_own_code(init, checkpoint, tmp_path):
    code, out, _ = init("--model", checkpoint)
    assert code == 0
    assert (
        out == f"work: the graph of {checkpoint}, ready for `dvc repro` there; its settings are in work/params.yaml\n"
    )
    work, graph = tmp_path / "work", (ROOT / "dvc.yaml").read_text()
    assert graph.count(WATCHES) == 1
    assert (work / "dvc.yaml").read_text() == graph.replace(WATCHES, ASKS)
    for name in ("data/tasks", "data/published", ".dvc/plots"):
        files = {path.name: path.read_bytes() for path in (ROOT / name).iterdir()}
        assert {path.name: path.read_bytes() for path in (work / name).iterdir()} == files


def test_settings_are_those_of_the_model(init, checkpoint, tmp_path):
    assert init("--model", checkpoint)[0] == 0
    params = agreed_params(tmp_path / "work" / "params.yaml")  # DVC reads it alike
    assert params.model.path == params.local["model"] == str(checkpoint.resolve())
    assert params.run.experts == [6, 4]
    assert params.statistics.sequences == "shares"
    assert params.grouping.group_size == {6: 1, 4: 2}
    assert [(export.method, export.experts) for export in params.exports.values()] == [("ream", 6)]
    shipped = load_params(ROOT / "params.yaml")
    assert (params.methods, params.suites, params.sources) == (shipped.methods, shipped.suites, shipped.sources)
    text = (tmp_path / "work" / "params.yaml").read_text()
    assert "# Ablations of the paper's Table 4 and Fig. 4(a)" in text


def test_a_preset_keeps_its_run(init, checkpoint, tmp_path):
    assert init("--model", checkpoint, "--params", "qwen3-30b-a3b", "--experts", 5, "--experts", 3)[0] == 0
    params, preset = load_params(tmp_path / "work" / "params.yaml"), load_params(ROOT / "params" / "qwen3-30b-a3b.yaml")
    assert (params.run.mixes, params.run.one_shot, params.run.sequential) == (
        preset.run.mixes, preset.run.one_shot, preset.run.sequential
    )  # fmt: skip
    assert (params.run.experts, params.grouping.group_size) == ([5, 3], {5: 2, 3: 3})
    assert params.suites == preset.suites


def test_sizes_fit_a_router_with_groups(init, tmp_path):
    build("deepseek_v3", tmp_path / "model")  # 8 experts in 2 router groups
    tiny.write_tokenizer(tmp_path / "model")
    assert init("--model", "model")[0] == 0
    assert load_params(tmp_path / "work" / "params.yaml").run.experts == [6, 4]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--experts", 9), "experts: 9 is more than the model's 8; keep at most 8"),
        (("--experts", 1), "experts: 1 is fewer than the 2 experts each token selects; keep at least 2"),
        (("--params", "qwen3-30b"), "--params: qwen3-30b does not exist; did you mean the preset "),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(init, checkpoint, tmp_path, arguments, line):
    code, _, err = init("--model", checkpoint, *arguments)
    assert code == 2
    assert err.startswith(f"error: {line}")
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "data/tasks/own.yaml", ".dvcignore"])
def test_a_file_that_is_there_is_not_replaced(init, checkpoint, tmp_path, name):
    path = tmp_path / "work" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    code, _, err = init("--model", checkpoint)
    assert code == 2
    assert "exists; name a folder without it, or remove it" in err
    assert [file for file in (tmp_path / "work").rglob("*") if file.is_file()] == [path]
    assert path.read_text() == "mine"


def test_dvc_reads_the_graph(init, checkpoint, tmp_path):
    assert init("--model", checkpoint, "--experts", 4)[0] == 0
    stages = {line.split()[0] for line in dvc(tmp_path / "work", "stage", "list", "--all").splitlines()}
    assert {"code", "model", "sequential@balanced-ream-4", "grouping@balanced-reap-4", "merge@ream-4"} <= stages
    assert yaml.safe_load((tmp_path / "work" / "dvc.yaml").read_text())["stages"]["code"]["always_changed"]


MINE = """extends: default
model: { path: anything }
calibration: { tokens: %d }
run: { mixes: [balanced], one_shot: [reap], sequential: [], experts: [4] }
"""


def test_a_changed_file_of_settings_is_taken_into_the_workspace(init, checkpoint, tmp_path):
    mine, place = tmp_path / "mine.yaml", tmp_path / "work" / "params.yaml"
    mine.write_text(MINE % 24)
    same = "--model", checkpoint, "--params", "mine.yaml", "--experts", 4
    assert init(*same)[0] == 0
    first = place.read_text().splitlines()[0]
    assert "--params mine.yaml --update`: change mine.yaml and run it again. SHA-256" in first
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert init(*same, "--update")[:2] == (0, "work/params.yaml: as before\n")
    mine.write_text(MINE % 16)
    code, out, _ = init(*same, "--update")
    assert (code, out) == (0, "work/params.yaml: written anew; `dvc repro` there runs what the change touches\n")
    assert load_params(place).calibration.tokens == 16
    assert load_params(place).model.path == str(checkpoint.resolve())
    changed = [path for path, time in made.items() if path.stat().st_mtime_ns != time]
    assert changed == [place], "nothing but the settings"
    assert set(made) == {path for path in (tmp_path / "work").rglob("*") if path.is_file()}


def test_settings_changed_by_hand_are_kept(init, checkpoint, tmp_path):
    place = tmp_path / "work" / "params.yaml"
    assert init("--model", checkpoint)[0] == 0
    edited = place.read_text().replace("tokens: 256", "tokens: 24")
    place.write_text(edited)
    code, _, err = init("--model", checkpoint, "--update")
    assert code == 2
    assert "params.yaml was changed since ream wrote it; bring the changes into" in err
    assert place.read_text() == edited
    assert init("--model", checkpoint, "--update", "--force")[0] == 0
    assert place.read_text() != edited
    assert init("--model", checkpoint, "--update")[0] == 0, "which is ream's again"


def test_updating_needs_a_workspace(init, checkpoint, tmp_path):
    code, _, err = init("--model", checkpoint, "--update")
    assert (code, err.count("\n")) == (2, 1)
    assert "work is no workspace: it lacks dvc.yaml or params.yaml; make one without --update" in err
    assert "--force goes with --update" in init("--model", checkpoint, "--force")[2]
    assert not (tmp_path / "work").exists()


def test_a_file_that_resolve_wrote_is_said_to_be_of_init(init, checkpoint, tmp_path):
    mine, whole = tmp_path / "mine.yaml", tmp_path / "whole.yaml"
    mine.write_text(MINE % 24)
    resolve(mine, whole)
    assert init("--model", checkpoint, "--params", "whole.yaml")[0] == 0
    text = (tmp_path / "work" / "params.yaml").read_text()
    assert text.count("# Written by") == 1
    assert text.startswith("# Written by `ream init work ")
