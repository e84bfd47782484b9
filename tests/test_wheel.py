"""A wheel is complete: installed alone into a fresh environment, its commands work in an empty folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest
import yaml

from tests import tiny
from tests.models.published import write_config
from tests.tiny import ROOT

FOLDERS = ("ream", "params", "data/tasks", "data/published", ".dvc/plots")
FILES = ("params.yaml", "dvc.yaml", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
BUILD_SDIST = "import sys, setuptools.build_meta as build; print(build.build_sdist(sys.argv[1]))"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel"), pytest.mark.timeout(600)]


def checked(command, folder, **changes):
    """What a command prints, run in a folder, without the path to this repository; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | changes
    done = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(sources, folder):
    """Build the wheel of a source tree; without a network, with the setuptools of this environment."""
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    checked([*pip, "--wheel-dir", folder, sources], folder.parent)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of what the wheel is made of: building leaves files in the tree."""
    folder = tmp_path_factory.mktemp("sources")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    return build(sources, tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="module")
def ream(wheel, tmp_path_factory):
    """Runs the `ream` of a fresh environment, with this one's libraries but not its ream, in an empty folder."""
    base = tmp_path_factory.mktemp("installed")
    checked([sys.executable, "-m", "venv", "--without-pip", "env"], base)
    python = base / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
    checked([*pip, wheel], base)
    packages = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = checked([python, "-c", packages], base).strip()
    # .pth files below this path are not read, so an editable install of the repository is not found
    with open(f"{own}/libraries.pth", "w") as file:
        file.write(sysconfig.get_path("purelib") + "\n")
    assert checked([python, "-c", "import ream; print(ream.__file__)"], base).startswith(own)
    empty = base / "empty"
    empty.mkdir()

    def run(*arguments):
        return checked([base / "env" / "bin" / "ream", *arguments], empty)

    run.folder, run.python = empty, python
    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("model") / "tiny", layers=2)


def files_of(wheel):
    """Name to content of a wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_wheel_has_the_settings_presets_tasks_and_templates(wheel):
    files = files_of(wheel)
    pairs = {"ream/params/default.yaml": ROOT / "params.yaml"}
    pairs |= {f"ream/shipped/presets/{path.name}": path for path in (ROOT / "params").iterdir()}
    for name in ("tasks", "published"):
        pairs |= {f"ream/shipped/{name}/{path.name}": path for path in (ROOT / "data" / name).iterdir()}
    pairs |= {f"ream/shipped/plots/{path.name}": path for path in (ROOT / ".dvc" / "plots").iterdir()}
    tracked = [path for path in (ROOT / "ream").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    pairs |= {path.relative_to(ROOT).as_posix(): path for path in tracked}
    assert {name for name in files if name.startswith("ream/")} == set(pairs)
    assert {name for name, path in pairs.items() if files[name] != path.read_bytes()} == set()
    (metadata,) = [text.decode() for name, text in files.items() if name.endswith(".dist-info/METADATA")]
    assert "License-Expression: Apache-2.0\n" in metadata
    assert [text for name, text in files.items() if name.endswith("LICENSE")] == [(ROOT / "LICENSE").read_bytes()]


def test_the_wheel_of_a_source_archive_is_the_same(sources, wheel, tmp_path):
    checked([sys.executable, "-c", BUILD_SDIST, tmp_path], sources)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (tmp_path / "wheels").mkdir()
    again = files_of(build(folder, tmp_path / "wheels"))
    assert {name: again[name] for name in again if name.startswith("ream/")} == {
        name: text for name, text in files_of(wheel).items() if name.startswith("ream/")
    }


def test_inspect_and_estimate_with_a_preset_by_its_name(ream, model, tmp_path):
    assert re.search(r"^experts +8\b", ream("inspect", model), re.MULTILINE)
    write_config("Qwen3-30B-A3B", tmp_path)
    shown = ream("estimate", tmp_path, "--experts", 96, "--params", "qwen3-30b-a3b")
    assert "30,532,122,624 -> " in shown


def test_compress_apply_and_verify(ream, model):
    ream("compress", model, "small", "--experts", 4, "--sequences", 4, "--tokens", 32)
    config = json.loads((ream.folder / "small" / "config.json").read_text())
    assert config["num_experts"] == 4
    assert (ream.folder / "small" / "README.md").read_text().startswith("---\n")
    ream("apply", model, "small/ream/recipe.ream", "again")
    for path in sorted((ream.folder / "small").glob("*.safetensors")):
        assert path.read_bytes() == (ream.folder / "again" / path.name).read_bytes()
    assert "4 in each of 2 layers" in ream("verify", "small")


def test_evaluate_on_a_demo_task(ream, model):
    options = ("--limit", 2, "--out", "scores.json", "--set", "suites.demo.loss=[general]")
    ream("evaluate", model, *options, "--set", "suites.demo.mc=[demo_prose]", "--set", "suites.demo.gen=[]")
    scores = json.loads((ream.folder / "scores.json").read_text())
    (cell,) = scores["cells"]
    assert set(cell["tasks"]) == {"demo_prose"}


def test_a_workspace_is_run_by_dvc(ream, model):
    ream("init", "work", "--model", model, "--experts", 4)
    work = ream.folder / "work"
    tree = yaml.safe_load((work / "params.yaml").read_text())
    tree["calibration"] |= {"sequences": 4, "tokens": 32}
    tree["suites"]["demo"] = {"mc": ["demo_prose"], "limit": 2}
    tree["rank"]["sequences"] = 0
    (work / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    path = f"{ream.python.parent}{os.pathsep}{os.environ['PATH']}"
    repro = (ream.python, "-m", "dvc", "repro", "merge@ream-4")
    assert "Running stage 'sequential@balanced-ream-4'" in checked(repro, work, PATH=path)
    assert json.loads((work / "models" / "ream-4" / "config.json").read_text())["num_experts"] == 4
    again = checked(repro, work, PATH=path)
    assert re.findall(r"^Running stage '(.*)'", again, re.MULTILINE) == ["code"]
