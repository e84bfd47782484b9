"""The UI in a real browser: a run's page, and a run started from the deployment's page with another mix ratio."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from tests.flows.conftest import flow_environment
from tests.graphs import build_graph, dvc

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]
WAIT = 30_000  # milliseconds for something to show


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
    log = open(folder / "ui.log", "w+")  # noqa: SIM115
    process = subprocess.Popen(command, cwd=folder, env=flow_environment(), stdout=log, stderr=subprocess.STDOUT)
    end = time.monotonic() + 90
    while f"http://127.0.0.1:{port}: the pipeline is at" not in (folder / "ui.log").read_text():
        assert process.poll() is None, (folder / "ui.log").read_text()
        assert time.monotonic() < end, (folder / "ui.log").read_text()
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    log.close()
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
