"""The repository's dvc.yaml on a tiny model, for tests that run the graph."""

import atexit
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import yaml

from flows.graph import read_graph
from flows.warm import Warm
from ream.commands.stage import run_stage
from ream.workspace.layout import Workspace
from tests.tiny import build

ROOT = Path(__file__).parent.parent
PUBLISHED = str(ROOT / "data" / "published")


def environment() -> dict[str, str]:
    """Environment variables with which the stages' commands are those of this Python."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """The result of a command in a folder, whether it succeeds or not."""
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


@cache
def imports() -> Warm:
    """The process of the imports, whose forks are the `dvc` of `dvc` and its `ream`, once it has imported them."""
    warm = Warm({})
    atexit.register(warm.close)
    return warm


def dvc(folder: Path, *arguments: str) -> str:
    """The output of a DVC command, which must succeed; in a fork that saves its start."""
    own_code = os.environ.get("PYTHONPATH", str(ROOT)) == str(ROOT)  # which is what the process has imported
    variables = environment() | (imports().environment() if own_code else {})
    program = [str(imports().path / "dvc")] if own_code else [sys.executable, "-m", "dvc"]
    command = [*program, *arguments]
    result = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def ran(output: str) -> set[str]:
    """The stages that `dvc repro` ran, from its output, without `names`, which runs after any change of a name."""
    return set(re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE)) - {"names"}


def build_graph(folder: Path) -> Path:
    """Make a git and DVC repository: dvc.yaml on a tiny model, two local sources, two mixes, methods of both kinds."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (folder / "ream").symlink_to(ROOT / "ream")
    build(folder / "model")
    for source, words in (("prose", "the cat sat on a mat and saw "), ("code", "def f(x): return x + 1; ")):
        write_texts(folder, source, words)
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "mine.yaml").write_text("task: mine\n")
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree |= {
        "model": {"path": "model", "special_tokens": "tokenizer"},
        "calibration": {"sequences": 6, "tokens": 16, "seed": 0},
        "local": {
            "model": "model",
            "prose": "texts/prose",
            "code": "texts/code",
            "published": PUBLISHED,
            "tasks": "tasks",
        },
        "sources": {name: {"kind": "files", "paths": [f"texts/{name}/*.txt"]} for name in ("prose", "code")},
        "statistics": {"probes": 32, "sequences": "all"},
        "mixes": {"even": {"prose": 0.5, "code": 0.5}, "wordy": {"prose": 0.8, "code": 0.2}},
        "grouping": {"group_size": {4: 4}},
        "suites": {"tiny": {"loss": ["code"], "loss_sequences": 4, "loss_tokens": 16}},
        "evaluation": {"suite": "tiny", "include": "tasks", "allow_code_execution": False, "seed": 0},
        "run": {
            "sources": ["prose", "code"],
            "mixes": ["even", "wordy"],
            "one_shot": ["reap"],
            "sequential": ["ream"],
            "experts": [4],
            "extra": {"mixes": ["wordy"], "one_shot": ["frequency"], "sequential": []},
            "rank": ["even"],
            "search": [],
        },
        "search": {},
        "rank": {"sequences": 3},
        "report": {"published": PUBLISHED},
        "exports": {"small": {"mix": "even", "method": "reap", "experts": 4}},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    (folder / ".gitignore").write_text("/artifacts\n/reports\n/models\n/.prefect\n")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    dvc(folder, "init", "-q")
    shutil.copy(ROOT / ".dvcignore", folder)
    (folder / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    return folder


def write_texts(folder: Path, source: str, words: str) -> None:
    """Write twelve text files for a source of kind files."""
    texts = folder / "texts" / source
    texts.mkdir(parents=True, exist_ok=True)
    for index in range(12):
        (texts / f"{index}.txt").write_text(f"{index} {words * 12}")


def run_all(folder: Path) -> set[str]:
    """Run every stage in this process, commit the results to DVC, and return the stages' names but `names`.

    This saves starting a process for each stage. ``folder`` must be the working directory.
    """
    stages = read_graph(folder)
    for stage in stages.values():
        words = shlex.split(stage.command)
        options = dict(zip((word.removeprefix("--") for word in words[3::2]), words[4::2], strict=True))
        given = options | ({"experts": int(options["experts"])} if "experts" in options else {})
        run_stage(words[2], given, Path("params.yaml"), Workspace(Path("artifacts")))
    dvc(folder, "commit", "--force", "--quiet")
    return set(stages) - {"names"}
