"""Originals that strangers made: nothing is written outside of the output, and nothing of the machine is in it."""

import json
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from ream.commands.cli import app
from ream.commands.compress import compress_model
from ream.commands.request import Request
from ream.errors import UserError
from ream.models.storage.checkpoint import INDEX, Checkpoint
from ream.models.storage.shard_names import check_shard_name
from ream.models.storage.shard_source import LocalShards
from ream.recipe.contents import RECIPE
from ream.recipe.output import write_checkpoint
from ream.recipe.recipe_file import save_recipe
from ream.recipe.verify import verify
from tests import tiny
from tests.compress.walks import loaded, opened, random_recipe
from tests.models.storage.strangers import mutated, shard, within
from tests.models.storage.test_checkpoint import refused, shard_of
from tests.models.storage.test_companions import CODE
from tests.models.storage.test_shard_names import NORM
from tests.tiny import files

KEPT, MUTATIONS = 3, 100
SECRET = "the password is swordfish"


@pytest.fixture
def stranger(checkpoint, tmp_path):
    """A copy of the tiny model in a folder of its own, beside a file that belongs to somebody else."""
    (tmp_path / "victim.safetensors").write_text(SECRET)
    return tiny.damaged(checkpoint, tmp_path / "strangers" / "model")


def renamed(folder, new):
    """A shard under another name, on disk (below or beside the folder) and in the index."""
    path = shard_of(folder, NORM)
    goal = folder / new
    goal.parent.mkdir(parents=True, exist_ok=True)
    path.rename(goal)
    (folder / INDEX).write_text((folder / INDEX).read_text().replace(f'"{path.name}"', json.dumps(new)))


def written(folder, out, **options):
    checkpoint, architecture = opened(folder)
    write_checkpoint(checkpoint, architecture, random_recipe(architecture, KEPT), out, **options)
    return out


def tree(folder):
    """Every file below a folder, with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


NAMES = ["../evil.safetensors", "{}/evil.safetensors", "README.md", "ream.json", "tokenizer_config.json", RECIPE]


@pytest.mark.parametrize("name", NAMES)
def test_a_shard_outside_or_with_the_name_of_another_file(name, stranger, tmp_path):
    checkpoint, architecture = opened(stranger)
    save_recipe(tmp_path / "r", random_recipe(architecture, KEPT, digest=checkpoint.digest()))
    renamed(stranger, name.format(tmp_path))
    before = tree(tmp_path)
    done = CliRunner().invoke(app, ["apply", str(stranger), str(tmp_path / "r"), str(tmp_path / "out")])
    assert isinstance(done.exception, UserError)  # exit code 2
    refused(lambda: Checkpoint(stranger), INDEX, "cannot be a shard")
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", NAMES)
def test_writing_checks_names_again(name, stranger, tmp_path):
    """As if nothing had checked the index."""
    (checkpoint, architecture), name, before = opened(stranger), name.format(tmp_path), tree(tmp_path)
    checkpoint.headers[name] = checkpoint.headers[checkpoint.tensors[NORM].shard]
    checkpoint.tensors[NORM] = replace(checkpoint.tensors[NORM], shard=name)
    recipe = random_recipe(architecture, KEPT)
    refused(
        lambda: write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out"), "partial", "cannot be a shard"
    )
    assert tree(tmp_path) == before


def test_nothing_that_ream_writes_can_be_a_shard(stranger, tmp_path):
    out = written(stranger, tmp_path / "out")
    shards = set(Checkpoint(out).shards)
    others = set(files(out)) - shards
    assert {"README.md", RECIPE, "ream.json", "config.json"} <= others
    for name in others:
        refused(lambda name=name: check_shard_name(name, "x"), "cannot be a shard")
        refused(lambda name=name: check_shard_name(f"{name}/x.safetensors", "x"), "cannot be") if "." in name else None
    refused(lambda: check_shard_name(f"{Path(RECIPE).parent}/x.safetensors", "x"), "cannot be a shard")


def test_a_shard_in_a_folder_is_written_there_and_verified(stranger, tmp_path):
    renamed(stranger, "part/x.safetensors")
    out = written(stranger, tmp_path / "out")
    assert (out / "part" / "x.safetensors").is_file()
    assert verify(out)["shards"].startswith(f"{len(Checkpoint(stranger).shards)}, ")
    loaded(out)


def test_secrets_behind_links_stay_where_they_are(stranger, tmp_path):
    victim = tmp_path / "victim.safetensors"
    for name in ("notes.txt", "id.json", "more.jinja", "payload.py"):
        (stranger / name).symlink_to(victim)
    (stranger / "extra.json").mkdir()
    (stranger / "extra.json" / "x").symlink_to(victim)
    out = written(stranger, tmp_path / "out")
    assert all(SECRET.encode() not in data for data in tree(out).values())
    assert not {"notes.txt", "id.json", "more.jinja", "payload.py", "extra.json"} & {
        path.name for path in out.iterdir()
    }
    (stranger / "LICENSE").unlink()
    (stranger / "LICENSE").symlink_to(victim)
    refused(lambda: written(stranger, tmp_path / "again"), "LICENSE", "is a link out of the checkpoint")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "strangers", "victim.safetensors"]


def with_code(folder):
    tiny.rewrite_config(folder, lambda config: config | {"auto_map": CODE})
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["tokenization_x.T", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    for name in ("configuration_x.py", "modeling_x.py", "tokenization_x.py", "setup.py"):
        (folder / name).write_text("raise SystemExit(7)\n")


def test_code_is_copied_only_where_it_may_run(stranger, tmp_path):
    with_code(stranger)
    out, trusted = written(stranger, tmp_path / "out"), written(stranger, tmp_path / "t", trust_remote_code=True)
    assert list(out.glob("*.py")) == []
    assert {path.name for path in trusted.glob("*.py")} == {"configuration_x.py", "modeling_x.py", "tokenization_x.py"}
    for name in ("config.json", "tokenizer_config.json"):
        assert json.loads((stranger / name).read_text())["auto_map"]
        assert json.loads((trusted / name).read_text())["auto_map"]
        assert "auto_map" not in json.loads((out / name).read_text())
    verify(out)
    verify(trusted)

    from transformers import AutoConfig, AutoTokenizer

    assert AutoConfig.from_pretrained(out, trust_remote_code=True).num_experts == KEPT
    assert AutoTokenizer.from_pretrained(out, trust_remote_code=True)("abc")["input_ids"]


@pytest.mark.parametrize("option", [[], ["--copy-code"]])
def test_apply_says_what_it_leaves_out(option, stranger, tmp_path):
    checkpoint, architecture = opened(stranger)
    save_recipe(tmp_path / "r", random_recipe(architecture, KEPT, digest=checkpoint.digest()))
    with_code(stranger)
    index = json.loads((stranger / INDEX).read_text())
    del index["weight_map"][NORM]
    (stranger / INDEX).write_text(json.dumps(index))
    arguments = ["apply", str(stranger), str(tmp_path / "r"), str(tmp_path / "out"), *option]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert (tmp_path / "out" / "modeling_x.py").exists() == bool(option)
    code = "the model's own code (configuration_x.py, modeling_x.py, tokenization_x.py) is not copied; --copy-code"
    assert (code in done.stderr) == (not option)
    assert f"does not name 1 tensors of its shards, {NORM} first" in done.stderr
    verify(tmp_path / "out")


def test_compress_refuses_and_warns_before_any_work(stranger, tmp_path):
    with_code(stranger)
    (stranger / "LICENSE").unlink()
    (stranger / "LICENSE").symlink_to(tmp_path / "victim.safetensors")
    params, said, warned = tiny.write_params(tmp_path / "p", sequences=4, batch_tokens=48, probes=40), [], []
    request = Request(str(stranger), tmp_path / "out", 4, "reap", "a=1", settings=("compute.threads=1",))
    refused(
        lambda: compress_model(request, params, said.append, warned.append), "LICENSE", "a link out of the checkpoint"
    )
    assert not any("sequences" in line for line in said)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []
    (stranger / "LICENSE").unlink()
    compress_model(request, params, said.append, warned.append)
    assert [line for line in warned if "tokenization_x.py) is not copied; --set model.trust_remote_code=true" in line]


def test_inspect_says_what_is_read(stranger):
    """The index names each shard; whether it names each tensor makes no difference to what is read."""
    index = json.loads((stranger / INDEX).read_text())
    del index["weight_map"][NORM]
    (stranger / INDEX).write_text(json.dumps(index))
    done = CliRunner().invoke(app, ["inspect", str(stranger)])
    assert done.exit_code == 0
    assert (
        done.stderr
        == f"warning: {stranger / INDEX} does not name 1 tensors of its shards, {NORM} first; they are read, too\n"
    )


def test_a_stale_file_beside_the_index_gives_an_output_of_one_file(stranger, checkpoint, tmp_path):
    source = Checkpoint(checkpoint)
    tensors = {name: source.read(name) for name in source.tensors}
    save_file(tensors, stranger / "model.safetensors", metadata={"format": "pt"})
    out = written(stranger, tmp_path / "out")
    assert [path.name for path in out.glob("model*")] == ["model.safetensors"]
    verify(out)
    loaded(out)


def test_what_verify_is_given_in_place_of_files(stranger, tmp_path):
    out = written(stranger, tmp_path / "out")
    contents = json.loads((out / "ream.json").read_text())
    os.mkfifo(out / "pipe")
    contents["files"]["pipe"] = {"bytes": 1, "sha256": "0"}
    (out / "ream.json").write_text(json.dumps(contents))
    refused(lambda: verify(out), "pipe is missing")


def test_local_shards_stay_what_they_are(stranger):
    source = LocalShards(stranger)
    before = tree(stranger)
    for name in Checkpoint(stranger).shards:
        source.drop(name)
    assert tree(stranger) == before


@pytest.mark.slow
def test_mutated_originals_give_a_right_output_or_a_line(stranger, tmp_path):
    """A change of a shard's header or of the index, then everything that `ream apply` does."""
    draw, written_outputs, recipe = random.Random(2), 0, random_recipe(opened(stranger)[1], KEPT)
    original, out = tree(stranger), tmp_path / "out"
    kept = tree(written(stranger, out))
    for number in range(MUTATIONS):
        shutil.rmtree(out, ignore_errors=True)
        path = draw.choice([*sorted(stranger.glob("*.safetensors")), stranger / INDEX])
        data = original[path]
        if path.name == INDEX:
            changed = mutated(data.decode(), draw).encode()
        else:
            length = int.from_bytes(data[:8], "little")
            changed = shard(mutated(data[8 : 8 + length].decode(), draw), data[8 + length :])
        path.write_bytes(changed)
        before = tree(tmp_path)
        try:
            with within(10):
                checkpoint, architecture = opened(stranger)
                write_checkpoint(checkpoint, architecture, recipe, out)
        except UserError as error:
            assert str(error).isprintable(), number  # noqa: PT017 - most are refused, some are not
            assert tree(tmp_path) == before, number
        else:
            written_outputs += 1
            assert {name: data for name, data in tree(tmp_path).items() if out not in name.parents} == before, number
            verify(out)
            tensors = {name: Checkpoint(out).raw(name) for name in Checkpoint(out).tensors}
            path.write_bytes(data)
            shutil.rmtree(out)
            written(stranger, out)
            whole = Checkpoint(out)
            assert tensors == {name: whole.raw(name) for name in whole.tensors}, number
            assert tree(out).keys() == kept.keys()
        path.write_bytes(data)
    assert written_outputs >= 3
