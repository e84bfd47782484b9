"""A git and DVC repository with the stage metrics of dvc.yaml alone, for tests of what DVC shows.

Its command writes what the stage does, of scores that follow from params.yaml at once.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from ream.evaluation.scores import Cell
from ream.stages.metrics import write_views
from ream.workspace.layout import Workspace
from tests.graphs import ROOT, dvc

METHODS, SIZES = ("neurons-refit", "ream", "hc-smoe"), (24, 16)


def cells() -> list[Cell]:
    """The original, and a model for each mix of params.yaml, method and size: the best mix is a quarter code."""
    mixes = yaml.safe_load(Path("params.yaml").read_text())["mixes"]
    return [_cell(None, None, 32, 0.0)] + [
        _cell(mix, method, experts, (32 - experts) * (1 + place / 10) * (1 + abs(ratios["code"] - 0.25)))
        for mix, ratios in mixes.items()
        for place, method in enumerate(METHODS)
        for experts in SIZES
    ]


def _cell(mix: str | None, method: str | None, experts: int, worse: float) -> Cell:
    return Cell(
        mix=mix, method=method, experts=experts, mean_loss=2.25 + worse / 20, mc=80 - worse, gen=75 - 1.5 * worse,
        avg=77.5 - 1.25 * worse, parameters=160_000 * experts, bytes=320_000 * experts,
    )  # fmt: skip


def write() -> None:
    """What the stage metrics writes, in the working directory."""
    write_views(cells(), Workspace(Path("artifacts")))


def git(folder: Path, *arguments: str) -> str:
    """The output of a git command, which must succeed."""
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def build_views(folder: Path, needed: str | None = None) -> Path:
    """The repository, after a run that was committed.

    Args:
        folder: where to make it.
        needed: a file in a folder that git ignores, without which the stage fails.
    """
    folder.mkdir(parents=True)
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    stage = graph["stages"]["metrics"]
    stage |= {
        "cmd": f"PYTHONPATH={ROOT} {sys.executable} -c 'from tests.views import write; write()'",
        "params": ["mixes", "run"],
    }
    del stage["deps"]
    ignored = (ROOT / ".gitignore").read_text()
    if needed is not None:
        stage["cmd"] = f"ls {needed} && {stage['cmd']}"
        ignored += f"/{Path(needed).parent}\n"
        (folder / needed).parent.mkdir()
        (folder / needed).touch()
    tree = {"stages": {"metrics": stage}, "plots": graph["plots"]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / ".gitignore").write_text(ignored)
    git(folder, "init", "-q", "-b", "main")
    dvc(folder, "init", "-q")
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    git(folder, "config", "user.name", "test")
    git(folder, "config", "user.email", "test@example.org")
    dvc(folder, "repro")
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "a run")
    return folder
