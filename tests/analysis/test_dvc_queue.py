"""Experiments in DVC's queue, as docs/views.md has them: each in a folder of its own, two at once."""

import os
import subprocess
import sys
import time

import pytest

from tests.graphs import dvc, environment, run
from tests.views import build_views, git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
CODE = (0.2, 0.25, 0.35, 0.5)
SHOW = ("exp", "show", "--only-changed", "--drop", "artifacts|Created|State|Executor")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A repository whose stage also needs a folder that git ignores."""
    folder = build_views(tmp_path_factory.mktemp("views") / "graph", needed="ignored/needed")
    yield folder
    dvc(folder, "queue", "stop")


def finish(folder):
    """Run the queue to its end; returns the last state of each experiment by its name."""
    command = [sys.executable, "-m", "dvc", "queue", "start", "--jobs", "2"]
    with open(os.devnull, "w") as nothing:  # no pipe, which the workers in the background would keep open
        subprocess.run(command, cwd=folder, env=environment(), check=True, stdout=nothing, stderr=nothing)
    end = time.monotonic() + 300
    while time.monotonic() < end:
        lines = [line.split() for line in dvc(folder, "queue", "status").splitlines()]
        states = {
            words[1]: words[-1] for words in lines if words and words[-1] in ("Queued", "Running", "Success", "Failed")
        }
        if not {"Queued", "Running"} & set(states.values()):
            return states
        time.sleep(1)
    raise AssertionError(states)


def test_four_mixes_in_the_queue(folder):
    before = (folder / "metrics" / "headline.json").read_bytes()
    sweep = f"mixes.balanced.code={','.join(map(str, CODE))}"
    dvc(folder, "exp", "run", "--queue", "-C", "ignored", "--name", "code", "-S", sweep)
    dvc(folder, "exp", "run", "--queue", "--name", "alone", "-S", "mixes.balanced.code=0.4")
    states = finish(folder)
    assert states == {**{f"code-{place}": "Success" for place in (1, 2, 3, 4)}, "alone": "Failed"}
    assert "ignored/needed" in dvc(folder, "queue", "logs", "alone"), "what it lacks"
    dvc(folder, "queue", "remove", "--failed")
    text = dvc(folder, *SHOW, "--md")
    assert max(map(len, text.splitlines())) <= 120
    for place, code in enumerate(CODE, 1):
        row = next(line for line in text.splitlines() if f"[code-{place}]" in line)
        assert row.rstrip(" |").split()[-1] == str(code)
    assert (folder / "metrics" / "headline.json").read_bytes() == before, "the workspace is as it was"
    assert git(folder, "status", "--short") == ""
    dvc(folder, "exp", "apply", "code-2")
    assert (folder / "metrics" / "headline.json").read_bytes() != before
    assert "code: 0.25}" in (folder / "params.yaml").read_text()
    changed = git(folder, "diff", "--unified=0", "params.yaml").splitlines()
    assert len([line for line in changed if line.startswith("+ ")]) == 1, "and that line alone"
    assert run(folder, "dvc", "status", "--quiet").returncode == 0
