"""The flow against `dvc repro`, side by side; failures, kills and cancelling."""

import json
import re
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
import yaml

from tests.flows.blocked import BlockedStages
from tests.flows.conftest import flow_environment, ran_by_flow, states
from tests.flows.light import until
from tests.graph_edits import ALL
from tests.graphs import build_graph, dvc, ran

pytestmark = [pytest.mark.flow, pytest.mark.timeout(600)]
SMALL = ("statistics", "saliency")  # targets that take a few seconds


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_graph(tmp_path_factory.mktemp("graph") / "built")


@pytest.fixture(scope="module")
def by_flow(built, server, tmp_path_factory):
    """A clone that the flow has brought up to date, and what it said."""
    folder = shutil.copytree(built, tmp_path_factory.mktemp("flow") / "clone", symlinks=True)
    command = [sys.executable, "-m", "flows", "run", "--workers", "2"]
    result = subprocess.run(
        command, cwd=folder, env=flow_environment(server), capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout + result.stderr


def outputs(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("artifacts", "metrics", "reports", "models")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not {".state", "costs", "costs.html", "ran-with"} & set(path.parts)
    }


def leftovers(folder):
    return [str(path) for path in folder.rglob(".*.tmp")] + [str(path) for path in folder.glob("artifacts/**/*.tmp")]


def locks(folder):
    """The locks that DVC still holds."""
    held = folder / ".dvc" / "tmp" / "rwlock"
    return json.loads(held.read_text() or "{}") if held.exists() else {}


def test_the_flow_and_dvc_leave_the_same(by_flow, built, flow):
    folder, said = by_flow
    assert f"{len(ALL) + 1} stages ran, 0 cached" in said  # with names
    assert ran_by_flow(said) == ALL
    assert set(states(said).values()) == {"Completed"}
    by_dvc = built
    dvc(by_dvc, "repro")
    assert yaml.safe_load((folder / "dvc.lock").read_text()) == yaml.safe_load((by_dvc / "dvc.lock").read_text())
    assert outputs(folder) == outputs(by_dvc)
    assert len(outputs(folder)) > 30
    # each finds nothing left to do after the other
    assert ran(dvc(folder, "repro")) == set()
    code, said = flow(by_dvc)
    assert code == 0
    assert ran_by_flow(said) == set()
    assert f"0 stages ran, {len(ALL) + 1} cached" in said


def test_a_changed_ratio_runs_its_mix_alone(by_flow, flow):
    folder, _ = by_flow
    code, said = flow(folder, "saliency", "grouping", "-S", "mixes.wordy.prose=0.3")
    assert code == 0, said
    stages = {"check", "saliency@wordy", "grouping@wordy-reap-4", "grouping-extra@wordy-frequency-4"}
    assert ran_by_flow(said) == stages
    assert yaml.safe_load((folder / "params.yaml").read_text())["mixes"]["wordy"]["prose"] == 0.3
    assert ran(dvc(folder, "repro", "saliency", "grouping")) == set()


def test_a_failed_stage_fails_the_flow_and_its_siblings_finish(by_flow, flow):
    folder, _ = by_flow
    before = (folder / "params.yaml").read_text()
    values = ("-S", "sources.code.paths=[texts/code/0.txt]", "-S", "calibration.seed=5")
    code, said = flow(folder, *SMALL, "items", *values)
    (folder / "params.yaml").write_text(before)
    assert code == 1
    last_states = states(said)
    assert last_states["calibration@code"] == "Failed"
    assert said.count("> ream stage calibration --source code") == 1, "bad input is not tried again"
    assert (last_states["calibration@prose"], last_states["statistics@prose"]) == ("Completed", "Completed")
    assert {last_states[name] for name in ("statistics@code", "saliency@even", "saliency@wordy")} == {"NotReady"}
    last = said.strip().splitlines()[-1]
    assert re.match(r"error: failed: calibration@code; not run: statistics@code, saliency@\w+, saliency@\w+; ", last)
    assert "stage calibration@code: " in said
    assert "Traceback" not in said, "what a person can correct needs no traceback"


@pytest.fixture
def blocked(server, tmp_path):
    """A repository, the process of its flow, whose first stage waits, and what keeps it waiting."""
    folder = build_graph(tmp_path / "clone")
    stages = BlockedStages(folder)
    command = [sys.executable, "-m", "flows", "run", "code"]
    process = subprocess.Popen(
        command, cwd=folder, env=flow_environment(server), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        stages.wait()
        yield folder, process, stages
    finally:
        process.kill()
        process.communicate()


def stage_processes(folder):
    """Processes of `ream stage` in a folder."""
    processes = [process for process in psutil.process_iter(["cmdline", "cwd"]) if process.info["cwd"] == str(folder)]
    return [process for process in processes if "stage" in (process.info["cmdline"] or [])]


def test_a_killed_stage_is_run_again(blocked):
    folder, process, stages = blocked
    killed = stage_processes(folder)
    assert killed
    for stage in killed:
        stage.kill()
    psutil.wait_procs(killed, 60)
    stages.wait()
    stages.release()
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert "was killed by SIGKILL" in said
    assert said.count("> ream stage names") == 2
    assert ran(dvc(folder, "repro", "code")) == set()


def test_cancelling_leaves_no_process_lock_or_half_a_file(blocked):
    folder, process, stages = blocked
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode != 0, said
    assert states(said)["names"] == "Cancelled"
    assert stage_processes(folder) == []
    assert locks(folder) in ({}, {"read": {}, "write": {}})
    assert leftovers(folder) == []
    stages.release()
    assert ran(dvc(folder, "repro", "code")) == {"code"}, "the repository is not locked, and DVC runs what is left"


def test_a_killed_flow_takes_its_stages_with_it_and_the_next_one_runs_them(blocked, flow):
    folder, process, stages = blocked
    process.kill()
    process.communicate(timeout=60)
    until(lambda: stage_processes(folder) == [])
    stages.release()
    assert locks(folder)["write"], "left behind"
    assert locks(folder)["read"]
    code, said = flow(folder, "code")
    assert (code, ran_by_flow(said)) == (0, {"code"}), said
    assert "waiting" not in said
    assert locks(folder) in ({}, {"read": {}, "write": {}})


def test_a_killed_flow_takes_its_server_with_it(tmp_path):
    (tmp_path / ".prefect").mkdir()
    program = "import pathlib, sys; from flows.server import Server; server = Server(pathlib.Path(sys.argv[1]))"
    program += "; server.ready(); print(server._process.pid, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, env=flow_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as flow:
        server = psutil.Process(int(flow.stdout.readline()))
        flow.kill()
    server.wait(60)


def test_shards_end_in_the_same_statistics(by_flow, flow):
    folder, _ = by_flow
    dvc(folder, "repro", "statistics@prose")
    before = outputs(folder)
    shutil.rmtree(folder / "artifacts" / "statistics" / "prose")
    code, said = flow(
        folder, "statistics@prose", "--shards", "2", "-S", "statistics.probes=23", "-S", "compute.batch_tokens=48"
    )
    assert code == 0, said
    assert re.search(r"statistics of prose: \d+ tokens, 3 layers, from 2 shards", said)
    assert {name for name in states(said) if "shard" in name} == {
        "statistics@prose-shard-0-of-2", "statistics@prose-shard-1-of-2"
    }  # fmt: skip
    assert outputs(folder).keys() == before.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluat",), "error: target 'evaluat' is unknown; did you mean 'evaluate'?"),
        (("-S", "mixes.wordy.pros=1"), "error: "),
        (("-S", "mixes"), "error: 'mixes' is not NAME=VALUE"),
        (("--clones",), "error: clones exchange results through DVC's default remote, but there is none"),
    ],
)
def test_bad_input_is_one_line(by_flow, flow, arguments, message):
    folder, _ = by_flow
    before = (folder / "params.yaml").read_text()
    code, said = flow(folder, *arguments)
    last = said.strip().splitlines()[-1]
    assert (code, last[: len(message)]) == (2, message), said
    assert (folder / "params.yaml").read_text() == before


def test_a_server_that_is_not_there_and_a_port_that_is_taken(by_flow, server):
    folder, _ = by_flow
    gone = flow_environment() | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    taken = [sys.executable, "-m", "flows", "ui", "--port", str(server.port)]
    for command, env, message in (
        ([sys.executable, "-m", "flows", "run"], gone, "error: Prefect's server at http://127.0.0.1:9/api can't be"),
        (taken, flow_environment(), f"error: port {server.port} of 127.0.0.1 is taken; choose another: make ui PORT="),
    ):
        result = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert result.returncode == 2
        assert result.stderr.startswith(message)
        assert len(result.stderr.splitlines()) == 1


def test_a_second_run_waits_for_the_first(blocked):
    folder, process, stages = blocked
    command = [sys.executable, "-m", "flows", "run", "names"]
    environment = flow_environment()
    second = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert second.stdout.readline() == (
        f"waiting for the run code (process {process.pid}), which changes this workspace\n"
    )  # fmt: skip
    second.kill()
    second.communicate()
    stages.release()
    assert process.wait(120) == 0


def test_the_server_has_what_the_ui_shows(by_flow, server, flow):
    """Runs with kinds as tags, and artifacts: figures of stages, scores, the figure, the report."""
    import httpx

    assert flow(by_flow[0], "saliency", "grouping")[0] == 0

    def ask(path, **body):
        answer = httpx.post(f"{server.api}{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    runs = ask("/task_runs/filter", limit=200)
    by_name = {run["name"]: run for run in runs}
    assert set(by_name["statistics@code"]["tags"]) == {"statistics", "model"}
    assert by_name["grouping@even-reap-4"]["tags"] == ["grouping"]
    names = {run["name"] for run in ask("/flow_runs/filter", limit=200)}
    assert {"all", "saliency grouping"} <= names
    artifacts = {artifact["key"]: artifact for artifact in ask("/artifacts/latest/filter", limit=200)}
    assert {"scores", "report", "report-file", "overview", "figures-sequential-even-ream-4"} <= set(artifacts)
    assert artifacts["overview"]["data"].startswith("data:image/png;base64,")
    rows = json.loads(artifacts["figures-sequential-even-ream-4"]["data"])
    assert {"alone", "groups", "largest", "removed"} <= set(rows[0])
    assert rows[-1]["seconds"] > 0
    limits = ask("/v2/concurrency_limits/filter", limit=200)
    assert [limit["name"] for limit in limits] == ["tag:model"]
