"""The graph as DVC reads it, targets, shards, and which stages are outdated."""

import subprocess

import pytest

from flows import graph as flows_graph
from flows import outdated as flows_outdated
from flows.graph import read_graph, select, with_shards
from flows.outdated import foreseen, look_ahead, outdated
from ream.errors import UserError
from tests.graph_edits import ALL
from tests.graphs import build_graph, dvc


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_graph(tmp_path_factory.mktemp("graph"))


@pytest.fixture(scope="module")
def stages(folder):
    return read_graph(folder)


def test_every_stage_comes_after_what_it_needs(stages):
    order = list(stages)
    assert set(order) == ALL | {"names"}
    for name, stage in stages.items():
        assert all(order.index(need) < order.index(name) for need in stage.needs)
    assert stages["evaluate@even-reap-4"].needs == ("alignment@even-reap-4", "code", "inputs", "items", "model")
    alignment = stages["alignment@even-reap-4"]
    assert alignment.needs == ("code", "grouping@even-reap-4", "model", "saliency@even")
    assert alignment.reads == (*alignment.needs, "statistics@code", "statistics@prose")
    assert stages["statistics@prose"].command == "ream stage statistics --source prose"
    assert stages["report"].outputs[0] == "reports/index.html"
    assert {stage.kind for stage in stages.values() if stage.loads_model} == {
        "statistics", "sequential", "evaluate", "rank"
    }  # fmt: skip


def test_targets_are_stages_or_kinds_with_all_they_need(stages):
    assert select(stages, []) == stages
    assert list(select(stages, ["saliency@even"])) == [
        name
        for name in stages
        if name.startswith(
            ("names", "code", "watch", "inputs", "check", "model", "calibration", "statistics", "saliency@even")
        )
    ]
    kinds = {stage.kind for stage in select(stages, ["calibration", "items"]).values()}
    assert kinds == {"names", "code", "watch", "inputs", "check", "model", "calibration", "items"}
    assert {stage.group for stage in select(stages, ["evaluate"]).values() if stage.kind == "evaluate"} == {
        "evaluate", "evaluate-extra", "evaluate-original", "evaluate-sequential"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("statistic", r"target 'statistic' is unknown; did you mean 'statistics'\? dvc.yaml has: .*saliency"),
        ("statistics@pros", r"target 'statistics@pros' is unknown; did you mean 'statistics@prose'\?"),
    ],
)
def test_an_unknown_target_names_the_nearest(stages, target, message):
    with pytest.raises(UserError, match=message):
        select(stages, [target])


def test_shards_come_before_their_stage_and_need_what_it_needs(stages):
    sharded = with_shards(select(stages, ["statistics"]), 2)
    names = [name for name in sharded if name.startswith("statistics@prose")]
    assert names == ["statistics@prose-shard-0-of-2", "statistics@prose-shard-1-of-2", "statistics@prose"]
    part, whole = sharded[names[1]], sharded["statistics@prose"]
    assert part.command == "ream stage statistics --source prose --shard 1 --shards 2"
    assert (part.needs, part.kind, part.part_of) == (stages["statistics@prose"].needs, "statistics", "statistics@prose")
    assert set(whole.needs) == {*part.needs, *names[:2]}
    assert with_shards(stages, 1) == stages


@pytest.mark.slow
def test_what_is_out_of_date_and_why(tmp_path):
    folder = build_graph(tmp_path / "own")
    names = ["model", "calibration@prose", "calibration@code"]
    assert outdated(folder, names) == dict.fromkeys(names, "itself"), "nothing is there yet"
    dvc(folder, "repro", "calibration@prose")
    assert outdated(folder, names) == {"calibration@code": "itself"}
    manifest = folder / "artifacts" / "model" / "manifest.json"
    text = manifest.read_text()
    manifest.unlink()
    manifest.write_text(text.replace("{", "{ ", 1))
    assert outdated(folder, names) == {"model": "outputs", "calibration@prose": "needs", "calibration@code": "itself"}
    manifest.write_text(text)
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("texts/prose/*.txt", "texts/prose/1*.txt"))
    assert outdated(folder, names) == {"calibration@prose": "itself", "calibration@code": "itself"}
    assert outdated(folder, ["model"]) == {}


def test_what_was_found_ahead_is_taken_once_and_only_of_the_same_graph(tmp_path, monkeypatch):
    folder = build_graph(tmp_path / "own")
    found = look_ahead(folder, ["model"])
    names = list(select(read_graph(folder), ["model"]))
    assert found == outdated(folder, names)
    assert found["model"] == "itself"
    opened, asked = [], []
    monkeypatch.setattr(flows_graph, "opened", opened.append)
    stages = with_shards(select(read_graph(folder), ["model"]), 2)
    assert opened == [], "the graph was read ahead, too"
    monkeypatch.setattr(flows_outdated, "outdated", lambda root, names, log: asked.append(set(names)) or {})
    assert foreseen(folder, stages) == found
    assert asked == []
    assert foreseen(folder, stages) == {}
    assert asked.pop() == set(names), "once"
    look_ahead(folder, ["model"])
    assert foreseen(folder, {"model": stages["model"]}) == {}
    assert asked.pop() == {"model"}, "other stages"
    look_ahead(folder, ["model"])
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert foreseen(folder, stages) == {}
    assert asked.pop() == set(names), "another dvc.lock"


def test_shards_are_not_asked_for_ahead(folder):
    found = look_ahead(folder, ["statistics@prose"])
    stages = with_shards(select(read_graph(folder), ["statistics@prose"]), 2)
    assert set(stages) - set(found) == {"statistics@prose-shard-0-of-2", "statistics@prose-shard-1-of-2"}
    assert foreseen(folder, stages) is found


def test_an_invalid_dvc_yaml_is_one_line(tmp_path):
    folder = build_graph(tmp_path / "broken")
    text = (folder / "dvc.yaml").read_text()
    for broken in ("stages: {a: {cmd: x, dep: [y]}}\n", text.replace("${item.source}", "${item.sauce}"), "stages: [\n"):
        (folder / "dvc.yaml").write_text(broken)
        with pytest.raises(UserError, match=r"^DVC can't read the graph: .*; correct the file") as error:
            read_graph(folder)
        assert "\n" not in str(error.value)


def test_no_repository(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(UserError, match=r"is not a DVC repository; run this in the folder that has dvc.yaml"):
        read_graph(tmp_path)
