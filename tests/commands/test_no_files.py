"""A pipe, a folder or a device in place of each file that a command reads: one line at once, and nothing is written."""

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ream.commands.cli import app
from ream.errors import UserError
from ream.recipe.recipe_file import save_recipe
from tests import tiny
from tests.compress.walks import opened, random_recipe
from tests.models.storage.strangers import within


def commands(folder, tmp_path):
    """What is given in place of a file, to the command that reads it."""
    params, out = tmp_path / "p" / "params.yaml", tmp_path / "out"
    common = ["--experts", 4, "--method", "reap", "--mix", "a=1"]
    return {
        params: ["estimate", folder, *common, "--params", params],
        tmp_path / "r": ["apply", folder, tmp_path / "r", out],
        tmp_path / "t.parquet": [
            "compress", folder, out, "--experts", 4, "--method", "reap", "--params", params, "--calibration",
            tmp_path / "t.parquet",
        ],
        folder / "config.json": ["inspect", folder],
        folder / "model.safetensors.index.json": ["inspect", folder],
        folder / "model-00001-of-00007.safetensors": ["inspect", folder],
        folder / "tokenizer.json": ["compress", folder, out, *common, "--params", params],
        folder / "tokenizer_config.json": ["apply", folder, tmp_path / "r", out],
        folder / "LICENSE": ["apply", folder, tmp_path / "r", out],
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
@pytest.mark.parametrize("which", range(9))
def test_what_is_no_file(which, kind, checkpoint, tmp_path):
    folder = tiny.damaged(checkpoint, tmp_path / "model")
    read, architecture = opened(folder)
    tiny.write_params(tmp_path / "p", model=folder)
    save_recipe(tmp_path / "r", random_recipe(architecture, 3, digest=read.digest()))
    path, arguments = list(commands(folder, tmp_path).items())[which]
    if path.name.startswith("model-"):
        path = min(folder.glob("*.safetensors"))
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    before = {other for other in tmp_path.rglob("*") if not other.is_relative_to(tmp_path / "p")}
    with within(10):
        done = CliRunner().invoke(app, [str(word) for word in arguments])
    if kind == "folder" and path.name == "LICENSE":  # a checkpoint may have such a folder, which is not copied
        assert done.exit_code == 0, done.exception
        shutil.rmtree(tmp_path / "out")
    else:
        assert isinstance(done.exception, UserError), done.exception  # exit code 2
        assert path.name in str(done.exception) or "tokenizer" in str(done.exception)
    after = {other for other in tmp_path.rglob("*") if not other.is_relative_to(tmp_path / "p")}
    assert after == before
    assert Path("/dev/zero").is_char_device()
