"""Outputs that git keeps go from one clone to another with the entry of dvc.lock."""

import shutil

import pytest
import yaml

from flows.clones import TRAVELS, uncommitted
from flows.graph import read_graph
from flows.reproduced import left_by, take_over
from tests.graphs import ROOT, dvc, ran
from tests.views import build_views, git


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    return build_views(tmp_path_factory.mktemp("views") / "worker")


@pytest.mark.slow
def test_another_clone_takes_over_what_the_stage_left(worker, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(worker), str(clone))
    params = (worker / "params.yaml").read_text()
    for folder in (worker, clone):
        (folder / "params.yaml").write_text(params.replace("code: 0.3}", "code: 0.2}", 1))
    assert ran(dvc(worker, "repro")) == {"metrics"}
    (worker / "metrics/models/code-heavy/24-ream.json").unlink()  # so that there is a file that must go
    stage = read_graph(worker)["metrics"]
    assert stage.kept_by_git == ("metrics/models", "metrics/plots.csv", "metrics/headline.json")
    dvc(worker, "commit", "--force")
    take_over(clone, stage, left_by(stage, worker), print)
    for path in worker.joinpath("metrics").rglob("*.*"):
        assert (clone / path.relative_to(worker)).read_bytes() == path.read_bytes()
    assert not (clone / "metrics/models/code-heavy/24-ream.json").exists()
    lock = [yaml.safe_load((folder / "dvc.lock").read_text()) for folder in (worker, clone)]
    assert lock[0] == lock[1]
    assert ran(dvc(clone, "repro")) == set()


def test_only_other_files_are_uncommitted_changes(worker, tmp_path):
    folder = shutil.copytree(worker, tmp_path / "copy", symlinks=True)
    git(folder, "commit", "-q", "--all", "--allow-empty", "-m", "as it is")
    for name in ("params.yaml", "dvc.lock", "metrics/headline.json", ".gitignore", "dvc.yaml"):
        (folder / name).write_text("# changed\n")
    assert uncommitted(folder) == [".gitignore", "dvc.yaml"]


def test_all_that_git_keeps_travels():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    outs = [
        out for stage in stages for key in ("outs", "metrics", "plots") for out in stage.get("do", stage).get(key, [])
    ]
    kept = [path for out in outs if isinstance(out, dict) for path, flags in out.items() if flags.get("cache") is False]
    assert len(kept) == 3
    assert {path.split("/")[0] for path in kept} <= set(TRAVELS)
