"""The UI in a real browser: a run's page, and a run started from the deployment's page with another mix ratio."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import yaml

from tests.flows.conftest import flow_environment
from tests.graphs import build_graph, dvc

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]
WAIT = 60_000  # milliseconds for something to show


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The graph up to saliency is done."""
    folder = build_graph(tmp_path_factory.mktemp("graph"))
    dvc(folder, "repro", "saliency")
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """`make ui` as a person starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows", "ui", "--port", str(port)]
    log = folder / "ui.log"
    with open(log, "w") as output:
        process = subprocess.Popen(command, cwd=folder, env=flow_environment(), stdout=output, stderr=output)
    try:
        end = time.monotonic() + 180
        while f"http://127.0.0.1:{port}: the pipeline is at" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.terminate()  # ends the server, too, if something above failed
        process.wait(60)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server has ended with it"


@contextmanager
def page(url):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1600, "height": 1200})
        opened.goto(url)
        yield opened
        browser.close()


def ask(address, path, **body):
    import httpx

    answer = httpx.post(f"{address}/api{path}", json=body, timeout=30)
    answer.raise_for_status()
    return answer.json()


def states(address, run):
    """The names of the states of a flow run's task runs, by the name of the task run."""
    task_runs = ask(address, "/task_runs/filter", flow_runs={"id": {"any_": [run]}}, limit=200)
    return {task["name"]: task["state"]["name"] for task in task_runs}


def submitted(address, deployment):
    """The id of a deployment's run, once the server has it."""
    end = time.monotonic() + WAIT / 1000
    while time.monotonic() < end:
        runs = ask(address, "/flow_runs/filter", deployments={"id": {"any_": [deployment]}})
        if runs:
            return runs[0]["id"]
        time.sleep(0.2)
    return pytest.fail("nothing was submitted")


def test_the_page_of_a_run_shows_its_stages(address, folder):
    command = [sys.executable, "-m", "flows", "run", "items"]
    environment = flow_environment() | {"PREFECT_API_URL": f"{address}/api"}
    said = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    assert "1 stages ran, 10 cached" in said
    (run,) = ask(address, "/flow_runs/filter", limit=1, sort="START_TIME_DESC")
    with page(f"{address}/runs/flow-run/{run['id']}") as opened:
        opened.get_by_text("Task Runs", exact=True).first.click(timeout=WAIT)
        for name, state in (("model", "Cached"), ("items", "Completed")):
            row = opened.locator(".state-list-item").filter(has=opened.get_by_text(name, exact=True))
            row.filter(has=opened.get_by_text(state, exact=True)).first.wait_for(timeout=WAIT)


def test_a_run_started_from_the_deployments_page_runs_its_mix_alone(address, folder):
    (deployment,) = ask(address, "/deployments/filter")
    values = {"targets": ["saliency"], "set_params": {"mixes.wordy.prose": 0.3}}
    with page(f"{address}/deployments/deployment/{deployment['id']}") as opened:
        opened.get_by_role("button", name="Run", exact=True).first.click(timeout=WAIT)
        opened.get_by_text("Custom run").click(timeout=WAIT)
        opened.wait_for_url("**/run?parameters=*", timeout=WAIT)
        # the form, filled through its address as "Copy to new run" fills it
        opened.goto(f"{opened.url.partition('?')[0]}?parameters={quote(quote(json.dumps(values)))}")
        opened.get_by_text("mixes.wordy.prose").first.wait_for(timeout=WAIT)
        opened.get_by_role("button", name="Submit").click(timeout=WAIT)
        opened.wait_for_url("**?tab=Runs*", timeout=WAIT)  # of the deployment, once the server has the run
        run = submitted(address, deployment["id"])
        opened.goto(f"{address}/runs/flow-run/{run}")
        opened.get_by_text("Completed", exact=True).first.wait_for(timeout=4 * WAIT)
    last = states(address, run)
    ran = {name for name, state in last.items() if state == "Completed"}
    assert ran == {"check", "saliency@wordy"}  # check: how many sequences of each source the mixes need
    assert {state for name, state in last.items() if name not in ran} == {"Cached"}
    assert yaml.safe_load((folder / "params.yaml").read_text())["mixes"]["wordy"]["prose"] == 0.3
