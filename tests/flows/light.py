"""Repositories of light stages, which need no model: one line of text each."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.graphs import dvc

HOLDER = """
import sys, time
from dvc.repo import Repo
with Repo(".").lock:
    print("held", flush=True)
    sys.stdin.read()
"""


def chains(stages: int, width: int = 8) -> dict[str, dict]:
    """Stages by name: as many chains as ``width``, whose stages each add a line to what the one before has made."""
    result = {}
    for number in range(stages):
        needed = [f"out/{number - width}.txt"] if number >= width else []
        made = f"out/{number}.txt"
        command = f"mkdir -p out && cat /dev/null {' '.join(needed)} > {made} && echo {number} >> {made}"
        result[f"light-{number}"] = {
            "cmd": command, "deps": ["base.txt", *needed], "params": ["a"], "outs": [made]
        }  # fmt: skip
    return result


def repository(folder: Path, stages: dict[str, dict]) -> Path:
    """Make a git and DVC repository of stages, which may use base.txt and the parameter a."""
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    dvc(folder, "init", "-q")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    (folder / "params.yaml").write_text("a: 1.0e-05\n")
    (folder / "base.txt").write_text("base\n")
    (folder / ".gitignore").write_text("/.prefect\n")
    return folder


def entries(folder: Path) -> set[str]:
    """The entries of dvc.lock as they stand there, in any order."""
    head, *stages = (folder / "dvc.lock").read_text().split("\n  light-")
    assert head == "schema: '2.0'\nstages:"
    return {stage.rstrip("\n") for stage in stages}


def cache(folder: Path) -> dict[str, bytes]:
    """Everything in DVC's cache and run cache by path."""
    root = folder / ".dvc" / "cache"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@contextmanager
def foreign(folder: Path, program: str = HOLDER):
    """A process that holds DVC's lock on a repository until its stdin is closed."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.stdin.close()


def until(condition, seconds: float = 60.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
