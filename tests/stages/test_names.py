"""Names in params.yaml that a shell would run: `dvc repro`, `make repro` and the flow refuse them first of all."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml
from dvc.exceptions import ReproductionError
from dvc.repo import Repo

from flows.compared_code import compare_code
from ream.params import load_params
from tests.graphs import ROOT, environment
from tests.models.storage.test_checkpoint import refused

SURROUNDINGS = environment() | {"PYTHONPATH": str(ROOT)}
EVIL = "x; touch PWNED; echo "


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """A repository with the graph and its settings, of which the first two stages have run."""
    folder = tmp_path_factory.mktemp("names")
    for name in ("dvc.yaml", "constraints.txt", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "ream").symlink_to(ROOT / "ream")
    for path in load_params(folder / "params.yaml").local.values():
        (folder / path).mkdir(parents=True)
        (folder / path / "file").touch()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    Repo.init(str(folder)).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(os, "environ", SURROUNDINGS)
        with Repo(".") as repo:
            assert [stage.name for stage in repo.reproduce("code")] == ["names", "code"]
            assert repo.reproduce("code") == []
    return folder


@pytest.fixture
def folder(checked, tmp_path, monkeypatch):
    """A copy, as the working directory."""
    shutil.copytree(checked, tmp_path / "graph", symlinks=True)
    monkeypatch.chdir(tmp_path / "graph")
    monkeypatch.setattr(os, "environ", SURROUNDINGS)
    return tmp_path / "graph"


def renamed(section, *lists):
    """Gives an entry of a section the evil name, in lists of the section run, too."""

    def change(tree):
        tree[section] = {
            EVIL if name == first_of(tree, section) else name: value for name, value in tree[section].items()
        }
        for path in lists:
            *outer, last = path.split(".")
            table = tree["run"]
            for key in outer:
                table = table[key]
            table[last] = [EVIL]

    return change


def first_of(tree, section):
    return next(iter(tree[section]))


ATTACKS = {
    "local": renamed("local"),
    "exports": renamed("exports"),
    "sources": renamed("sources", "sources"),
    "mixes": renamed("mixes", "mixes", "rank"),
    "rank": lambda tree: tree["run"].update(rank=[EVIL]),
    "one_shot": renamed("methods", "one_shot"),
    "sequential": renamed("methods", "sequential"),
    "extra": lambda tree: tree["run"]["extra"].update(one_shot=[EVIL]),
    "experts": lambda tree: tree["run"].update(experts=[EVIL]),
}


def attacked(folder, name):
    path = folder / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    ATTACKS[name](tree)
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


@pytest.mark.parametrize("name", ATTACKS)
def test_what_make_repro_and_every_flow_begin_with_refuses_the_name(name, tmp_path):
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    attacked(tmp_path, name)
    refused(lambda: compare_code(tmp_path), EVIL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_that_a_shell_would_run_stops_dvc_repro_at_its_first_stage(name, folder, capfd):
    attacked(folder, name)
    with Repo(".") as repo, pytest.raises(ReproductionError) as stopped:
        repo.reproduce()
    assert "'names'" in str(stopped.value)
    assert "exited with 2" in str(stopped.value.__cause__)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert EVIL in lines[0]
    assert not (folder / "PWNED").exists()


@pytest.mark.slow
def test_the_attacks_would_work_without_the_stage(folder):
    """The same commands as the others have, formed by DVC; as a check that these tests can fail."""
    text = (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(text.replace(", artifacts/names.json]", "]"))
    attacked(folder, "local")
    with Repo(".") as repo, pytest.raises(ReproductionError):
        repo.reproduce("watch@x*", glob=True, single_item=True)
    assert (folder / "PWNED").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", [["flows.compared_code"], ["flows", "run"]])
def test_make_repro_and_the_flow_end_with_one_line(command, folder):
    attacked(folder, "sources")
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=os.environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "use letters, digits, '.', '_' and '-' only" in done.stderr
    assert not (folder / "PWNED").exists()


@pytest.mark.slow
def test_artifacts_of_before_the_stage_are_left_to_dvc_repro(folder):
    """DVC cannot run the stage code alone where what it depends on is missing."""
    record = folder / "artifacts" / "code" / "model.json"
    record.unlink()  # DVC's cache may be linked
    record.write_text("{}")
    (folder / "artifacts" / "names.json").unlink()
    compare_code(folder)
    assert record.read_text() == "{}"


@pytest.mark.slow
def test_a_new_name_makes_nothing_else_run(folder):
    tree = yaml.safe_load((folder / "params.yaml").read_text())
    tree["local"]["another"] = "constraints.txt"
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    with Repo(".") as repo:
        assert [stage.name for stage in repo.reproduce("code")] == ["names"]
        assert repo.reproduce("code") == []
