"""Stages begun and committed by the flow: what `dvc repro --single-item` does, judges and leaves."""

import json
import os
import re
import shutil
import threading

import pytest
import yaml

from flows.child import Children, StageError
from flows.desk import Desk
from flows.graph import read_graph
from flows.outdated import outdated
from flows.reproduced import left_by, take_over
from flows.work import carry_out
from tests.flows.light import cache, chains, entries, foreign, repository, until
from tests.graphs import dvc, ran, run

ODD = {
    "folder": {"cmd": "mkdir odd && echo ${a} > odd/one && echo 2 > odd/two", "params": ["a"], "outs": ["odd"]},
    "metric": {
        "cmd": ["echo '{\"loss\": 0.5}' > m.json", "echo more > more.txt"],
        "deps": ["odd", "base.txt"],
        "metrics": [{"m.json": {"cache": False}}],
        "outs": ["more.txt"],
    },
    "grows": {"cmd": "echo line >> log.txt", "deps": ["more.txt"], "outs": [{"log.txt": {"persist": True}}]},
    "in-git": {"cmd": "cat more.txt > kept.txt", "deps": ["more.txt"], "outs": [{"kept.txt": {"cache": False}}]},
    "always": {"cmd": "date > now.txt", "outs": ["now.txt"], "always_changed": True},
    "below": {"cmd": "cp ../base.txt copy.txt", "wdir": "sub", "deps": ["../base.txt"], "outs": ["copy.txt"]},
}
ASKS = {"cmd": "env > env.txt; pwd > pwd.txt", "wdir": "sub", "outs": ["env.txt", "pwd.txt"]}
SLOW = {"cmd": "touch up; until test -e go; do sleep 0.1; done; echo 1 > slow.txt", "outs": ["slow.txt"]}
KILLED = """
import time
from dvc.repo import Repo
from dvc.rwlock import rwlock
repo = Repo(".")
repo.lock.lock()
with rwlock(repo.tmp_dir, repo.fs, "gone", [], [f"{repo.root_dir}/out/0.txt"], False):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """Makes a desk of a repository, and what it says."""
    desks = []

    def open_desk(folder):
        monkeypatch.chdir(folder)
        said = []
        desks.append(Desk(folder, said.append))
        return desks[-1], said

    yield open_desk
    for each in desks:
        each.close()


def work(desk, name, children=None):
    """Run a stage as the flow does; returns its work, None if it is unchanged."""
    todo = desk.begin(name, print)
    if todo is not None:
        carry_out(todo, {}, print, print, children or Children())
        if todo.commands:
            desk.commit(name, print)
    return todo


def files(folder):
    """Contents of all files outside of .git and DVC's temporary ones."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if "tmp" not in path.relative_to(folder).parts and path.name != "now.txt"
    }


@pytest.mark.slow
def test_what_is_left_is_what_dvc_repro_leaves(desk, tmp_path):
    """dvc.lock, .gitignore, the cache, the run cache, and files of each kind of output; then again after a change."""
    stages = {name: stage for name, stage in ODD.items() if name != "always"}
    ours = repository(tmp_path / "ours", stages)
    (ours / "sub").mkdir()
    dvcs = shutil.copytree(ours, tmp_path / "dvcs")
    order = list(read_graph(ours))
    front, _ = desk(ours)
    for change in (None, "a: 7\n", "a: 1.0e-05\n"):
        for folder in (ours, dvcs):
            if change is not None:
                (folder / "params.yaml").write_text(change)
        by_us = {name for name in order if (todo := work(front, name)) is not None and todo.commands}
        assert ran(dvc(dvcs, "repro")) == by_us
        assert files(ours) == files(dvcs)
        assert run(ours, "dvc", "status").stdout == "Data and pipelines are up to date.\n"
        assert ran(dvc(ours, "repro")) == set()
        assert [work(front, name) for name in order] == [None] * len(order)
    assert by_us == set(), "the run cache has it all"


@pytest.mark.slow
def test_entries_travel_between_clones_as_they_are(tmp_path):
    folder = repository(tmp_path / "r", chains(2))
    dvc(folder, "repro")
    lock = folder / "dvc.lock"
    before, names = lock.read_bytes(), list(yaml.safe_load(lock.read_text())["stages"])
    assert b"a: 1e-05" in before, "which PyYAML takes for text"
    stages = read_graph(folder)
    sent = [(stages[name], left_by(stages[name], folder)) for name in names]
    lock.unlink()
    for stage, left in sent:
        take_over(folder, stage, left, print)
    assert lock.read_bytes() == before


def test_a_stage_that_always_runs(desk, tmp_path):
    folder = repository(tmp_path / "r", {"always": ODD["always"]})
    front, _ = desk(folder)
    assert [work(front, "always").commands for _ in range(2)] == [("date > now.txt",)] * 2
    assert front.changed("always", print)


def test_the_run_cache_gives_back_what_was_made_before(desk, tmp_path):
    folder = repository(tmp_path / "r", chains(3, 1))
    dvc(folder, "repro")
    before = entries(folder), cache(folder)
    for path in ("out", "dvc.lock"):
        shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink()
    front, _ = desk(folder)
    for name in ("light-0", "light-1", "light-2"):
        assert work(front, name).commands == ()
        assert not front.has_begun(name)
    assert (entries(folder), cache(folder)) == before
    assert (folder / "out" / "2.txt").read_text() == "0\n1\n2\n"
    assert outdated(folder, ["light-0", "light-1", "light-2"]) == {}


def test_errors_are_dvcs_and_leave_no_entry(desk, tmp_path):
    stages = {"early": {"cmd": "true", "deps": ["nowhere"], "outs": ["x"]}, "late": {"cmd": "true", "outs": ["y"]}}
    folder = repository(tmp_path / "r", stages)
    front, _ = desk(folder)
    with pytest.raises(StageError, match=r"^stage early: .*nowhere") as error:
        front.begin("early", print)
    assert str(error.value).removeprefix("stage early: ") in run(folder, "dvc", "repro", "early").stderr
    front.begin("late", print)
    with pytest.raises(StageError, match=r"^stage late: .*output 'y' does not exist$"):
        front.commit("late", print)
    assert not front.has_begun("late")
    assert not (folder / "dvc.lock").exists()
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"other": {"cmd": "true"}}}))
    with pytest.raises(StageError, match=r"^stage late: dvc.yaml does not have it any more$"):
        front.begin("late", print)
    (folder / "dvc.yaml").write_text("stages: [\n")
    with pytest.raises(StageError, match=r"^stage late: .*dvc.yaml.*corrupted"):
        front.begin("late", print)


def test_a_killed_stage_is_not_committed_and_starts_clean_again(desk, tmp_path):
    command = "test ! -e out.txt && echo half > out.txt && if test ! -e again; then touch again; kill -9 $$; fi"
    folder = repository(tmp_path / "r", {"s": {"cmd": command, "outs": ["out.txt"]}})
    front, _ = desk(folder)
    todo = front.begin("s", print)
    with pytest.raises(StageError, match=r"stage s was killed by SIGKILL") as error:
        carry_out(todo, {}, print, print, Children())
    assert error.value.again
    assert (folder / "out.txt").read_text() == "half\n"
    assert not (folder / "dvc.lock").exists()
    carry_out(todo, {}, print, print, Children())
    front.commit("s", print)
    assert ran(dvc(folder, "repro")) == set()


def of_dvc(folder):
    """DVC's variables that the stage of ASKS was given, without the one that tests set."""
    lines = (folder / "sub" / "env.txt").read_text().splitlines()
    return {line for line in lines if line.startswith("DVC_")} - {"DVC_TEST=1"}


@pytest.mark.slow
def test_the_environment_and_folder_are_those_of_dvc(desk, tmp_path):
    folder = repository(tmp_path / "r", {"s": ASKS})
    (folder / "sub").mkdir()
    said = []
    front, _ = desk(folder)
    carry_out(front.begin("s", print), {}, said.append, print, Children())
    ours = {line for line in (folder / "sub" / "env.txt").read_text().split("\n") if line.startswith("DVC_")} - {
        "DVC_TEST=1"
    }
    assert (folder / "sub" / "pwd.txt").read_text() == f"{folder / 'sub'}\n"
    assert said == ["Running stage 's':", "> env > env.txt; pwd > pwd.txt"]
    front.drop("s")
    dvc(folder, "repro")
    assert {line for line in (folder / "sub" / "env.txt").read_text().split("\n") if line.startswith("DVC_")} == {
        *ours,
        "DVC_TEST=1",
    }
    assert ours == {"DVC_STAGE=s", f"DVC_ROOT={folder}"}


def rwlock(folder):
    held = json.loads((folder / ".dvc" / "tmp" / "rwlock").read_text())
    return sorted(os.path.relpath(path, folder) for kind in held.values() for path in kind)


@pytest.mark.slow
def test_a_foreign_dvc_is_told_while_a_command_runs(desk, tmp_path):
    folder = repository(tmp_path / "r", chains(2, 2))
    front, _ = desk(folder)
    front.begin("light-0", print)
    front.begin("light-1", print)
    refused = run(folder, "dvc", "repro", "--single-item", "light-0")
    assert "is busy, it is being blocked by" in refused.stderr
    assert f"(PID {os.getpid()}): python -m flows: stage light-0" in refused.stderr
    front.drop("light-0")
    assert rwlock(folder) == ["base.txt", "out/1.txt", "params.yaml"], "what the other stage reads is still held"
    assert ran(dvc(folder, "repro", "--single-item", "light-0")) == {"light-0"}
    assert front.begin("light-0", print) is None, "dvc.lock is read again when another process has written it"
    front.close()
    assert rwlock(folder) == []
    with pytest.raises(StageError, match="the flow is being stopped"):
        front.commit("light-1", print)


@pytest.mark.slow
def test_the_holder_of_the_repository_is_waited_for_and_named(desk, tmp_path):
    folder = repository(tmp_path / "r", chains(1))
    front, said = desk(folder)
    with foreign(folder) as process:
        begun = []
        thread = threading.Thread(target=lambda: begun.append(front.begin("light-0", print)))
        thread.start()
        until(lambda: said)
        assert begun == []
    thread.join(60)
    assert begun[0].commands
    assert len(said) == 1, "once a minute"
    named = rf"waiting for DVC's lock, held by process {process.pid}: \S*python\S* -c .*Repo.*"
    assert re.fullmatch(named, said[0], re.DOTALL)


@pytest.mark.slow
def test_the_holder_of_paths_is_waited_for_and_named_and_holds_up_no_other_stage(desk, tmp_path):
    folder = repository(tmp_path / "r", {"slow": SLOW} | chains(1))
    front, _ = desk(folder)
    begun, said = [], []
    repro = threading.Thread(target=dvc, args=(folder, "repro", "slow"))
    repro.start()
    until((folder / "up").exists)
    assert outdated(folder, ["slow", "light-0"]) == {"slow": "busy", "light-0": "itself"}
    thread = threading.Thread(target=lambda: begun.append(front.begin("slow", said.append)))
    thread.start()
    assert work(front, "light-0").commands
    until(lambda: said)
    assert re.fullmatch(r"waiting for DVC's lock, held by process \d+: \S*dvc\S* repro slow", said[0])
    (folder / "go").touch()
    thread.join(60)
    repro.join(60)
    assert begun == [None], "the other process has done it"


@pytest.mark.slow
def test_waiting_ends_with_the_flow(desk, tmp_path):
    folder = repository(tmp_path / "r", chains(1))
    front, said = desk(folder)
    errors = []

    def begin():
        try:
            front.begin("light-0", print)
        except StageError as error:
            errors.append(str(error))

    with foreign(folder):
        thread = threading.Thread(target=begin)
        thread.start()
        until(lambda: said)
        front.close()
        thread.join(60)
    assert errors == ["not started: the flow is being stopped"]


@pytest.mark.slow
def test_a_lock_whose_holder_was_killed_is_free(desk, tmp_path):
    folder = repository(tmp_path / "r", chains(1))
    with foreign(folder, KILLED) as process:
        process.kill()
        process.wait()
    assert rwlock(folder) == ["out/0.txt"]
    front, said = desk(folder)
    assert work(front, "light-0").commands
    assert (said, rwlock(folder)) == ([], [])
