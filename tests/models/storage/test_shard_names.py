"""Indices: names that a shard may have, and what is read where index and shards differ, against transformers."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.errors import UserError
from ream.models.inspection.headers import has_weights, shapes_of
from ream.models.inspection.manifest import source_of
from ream.models.storage.checkpoint import INDEX, SINGLE, Checkpoint
from ream.models.storage.hub import DROPPED
from ream.models.storage.shard_names import check_shard_name, read_index, shard_path
from ream.models.storage.shard_source import LocalShards
from tests.compress.walks import loaded
from tests.models.storage.fake_hub import NAME, serving
from tests.models.storage.strangers import mutated, within
from tests.models.storage.test_checkpoint import FIRST, refused, shard_of
from tests.tiny import damaged, files

EVIL = [
    "/etc/passwd", "/tmp/x.safetensors", "../x.safetensors", "a/../x.safetensors", "a/../../x.safetensors", "..",
    "./x.safetensors", "a//x.safetensors", "a/", "", ".", ".safetensors", ".hidden.safetensors", ".git/x.safetensors",
    "a/.b/x.safetensors", "README.md", "ream.json", "tokenizer_config.json", "config.json", INDEX, "recipe.safetensors",
    "Recipe.SAFETENSORS", "sub/recipe.safetensors", "ream/x.safetensors", "REAM/a/x.safetensors",
    "README.md/x.safetensors", "ream.json/x.safetensors", "lock",
    "a\\..\\x.safetensors", "x.safetensors\n", "a\nb.safetensors", "a\0.safetensors", "\ud800.safetensors",
    "\x1b[2J.safetensors", "x.bin", "x.SAFETENSORS", "model.safetensors ", "x" * 300 + ".safetensors",
    "é" * 100 + ".safetensors", "x" * 300 + "/a.safetensors",
]  # fmt: skip
GOOD = ["model.safetensors", "model-00001-of-00002.safetensors", "part/x.safetensors", "a/b/модель 1.safetensors"]


@pytest.mark.parametrize("name", EVIL)
def test_names_that_are_refused(name):
    assert refused(lambda: check_shard_name(name, "x.json"), "x.json", "cannot be a shard").isprintable()


def test_they_are_refused_wherever_a_name_becomes_a_path(tmp_path, hub):
    local, remote = LocalShards(tmp_path), source_of(NAME, keep_shards=False)
    remote.own.mkdir(parents=True)
    asked = len(hub.requests)
    local_headers, remote_headers = (lambda name, source=source: source.headers([name]) for source in (local, remote))
    for name in EVIL:
        for use in (local.open, remote.open, remote.drop, remote.has, local_headers, remote_headers):
            refused(lambda name=name, use=use: use(name), "cannot be a shard")
    assert len(hub.requests) == asked


@pytest.mark.parametrize("name", GOOD)
def test_names_that_are_allowed(name, tmp_path):
    check_shard_name(name, "x")
    assert shard_path(tmp_path, name) == tmp_path / name


INDICES = {
    "a list": ("[]", "where an object {…} is expected"),
    "no weight_map": ('{"metadata": {}}', "no table 'weight_map'"),
    "a list of names": ('{"weight_map": ["a"]}', "no table 'weight_map'"),
    "a number for a shard": ('{"weight_map": {"a": 1}}', "no table 'weight_map'"),
    "null for a shard": ('{"weight_map": {"a": null}}', "no table 'weight_map'"),
    "a table for a shard": ('{"weight_map": {"a": {"b": "c"}}}', "no table 'weight_map'"),
    "no tensor": ('{"weight_map": {}}', "names no tensor"),
    "metadata a list": ('{"metadata": [1], "weight_map": {"a": "model.safetensors"}}', "'metadata' is not an object"),
    "metadata with NaN": ('{"metadata": {"x": NaN}, "weight_map": {"a": "model.safetensors"}}', "'metadata' is not"),
    "metadata too large": ('{"metadata": {"x": 1e999}, "weight_map": {"a": "model.safetensors"}}', "'metadata' is not"),
    "half a character": ('{"metadata": {"x": "\\ud800"}, "weight_map": {"a": "m.safetensors"}}', "surrogate pair"),
    "a name of two lines": ('{"weight_map": {"a\\nb": "model.safetensors"}}', "'a\\nb' has characters"),
    "not JSON": ("{", "is not valid JSON"),
    "not UTF-8": (b"\xff", "is not valid JSON"),
    "nested": ('{"metadata": ' + "[" * 100_000, "nested too deeply"),
    "nested 200 deep": ('{"metadata": {"x": ' + "[" * 200 + "]" * 200 + '}, "weight_map": {}}', "100 levels deep"),
    "100,000 digits": ('{"metadata": {"total_size": ' + "1" * 100_000 + "}}", "is not valid JSON"),
}


@pytest.mark.parametrize("case", INDICES)
def test_indices_that_are_none(case, checkpoint, tmp_path):
    text, words = INDICES[case]
    folder = damaged(checkpoint, tmp_path / "x")
    (folder / INDEX).write_bytes(text if isinstance(text, bytes) else text.encode())
    with within(5):
        for read in (Checkpoint, has_weights, lambda folder: shapes_of(LocalShards(folder))):
            assert refused(lambda read=read: read(folder), INDEX, words).isprintable()


def test_an_index_may_lack_metadata(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    weight_map = read_index(folder / INDEX).weight_map
    for metadata in ({}, {"metadata": None}):
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map} | metadata))
        assert read_index(folder / INDEX).metadata == {}
        assert Checkpoint(folder).remarks == ()


def same_as_transformers(folder):
    """The checkpoint, which must have the values that transformers loads."""
    read = Checkpoint(folder)
    for name, tensor in loaded(folder).state_dict().items():
        if name in read.tensors:  # transformers stacks the experts'
            assert torch.equal(read.read(name), tensor), name
    return read


NORM = "model.norm.weight"


def test_a_file_beside_an_index_is_read_as_transformers_does(checkpoint, tmp_path, monkeypatch):
    folder = damaged(checkpoint, tmp_path / "x")
    tensors = {name: Checkpoint(checkpoint).read(name) for name in Checkpoint(checkpoint).tensors}
    tensors[NORM] = tensors[NORM] + 1
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    read = same_as_transformers(folder)
    assert torch.equal(read.read(NORM), tensors[NORM])
    assert list(read.shards) == [SINGLE]
    assert not read.indexed
    assert read.remarks == (f"{folder}: {SINGLE} is read, as transformers does, and not the shards of {INDEX}",)
    with serving(folder, tmp_path / "cache", monkeypatch):
        remote = Checkpoint(source_of(NAME))
        assert list(remote.shards) == [SINGLE]
        assert torch.equal(remote.read(NORM), tensors[NORM])
    for path in folder.glob("model-*"):
        path.unlink()
    assert has_weights(folder)
    weight_map = dict.fromkeys(tensors, SINGLE)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert Checkpoint(folder).remarks == ()
    assert Checkpoint(folder).indexed


def test_a_tensor_that_the_index_does_not_name_is_read(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    index = json.loads((folder / INDEX).read_text())
    del index["weight_map"][NORM]
    (folder / INDEX).write_text(json.dumps(index))
    read = same_as_transformers(folder)
    assert NORM in read.tensors
    assert read.remarks == (
        f"{folder / INDEX} does not name 1 tensors of its shards, {NORM} first; they are read, too",
    )


@pytest.mark.parametrize("named", ["the later", "the earlier"])
def test_a_tensor_in_two_shards(named, checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    path = shard_of(folder, NORM)
    shards = sorted(folder.glob("*.safetensors"))
    other = shards[0] if path == shards[-1] else shards[-1]
    first, last = sorted((path, other))
    save_file(load_file(other) | {NORM: load_file(path)[NORM] + 1}, other, metadata={"format": "pt"})
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"][NORM] = (last if named == "the later" else first).name
    (folder / INDEX).write_text(json.dumps(index))
    expected = load_file(last)[NORM]
    assert torch.equal(loaded(folder).model.norm.weight, expected)
    if named == "the earlier":
        refused(lambda: Checkpoint(folder), f"places {NORM} in {first.name}, but {last.name} has it, too", "remove one")
        return
    read = same_as_transformers(folder)
    assert torch.equal(read.read(NORM), expected)
    assert read.remarks == (f"{folder / INDEX}: 1 tensors are in two shards, {NORM} first; the later shard's are read",)


def test_a_shard_in_a_folder_from_disk_and_hub(checkpoint, tmp_path, monkeypatch, hub):
    folder = damaged(checkpoint, tmp_path / "x")
    path = shard_of(folder, FIRST)
    (folder / "part").mkdir()
    path.rename(folder / "part" / path.name)
    (folder / INDEX).write_text((folder / INDEX).read_text().replace(path.name, f"part/{path.name}"))
    assert same_as_transformers(folder).raw(FIRST) == Checkpoint(checkpoint).raw(FIRST)
    source = source_of(NAME, keep_shards=False)
    kept = source.own / "part" / path.name
    kept.parent.mkdir(parents=True)
    kept.touch()
    source.drop(f"part/{path.name}")
    assert not (hub.cache / DROPPED).exists()


CASES = 400


@pytest.mark.slow
def test_mutated_indices_are_read_or_refused_in_a_line(checkpoint, tmp_path):
    """What is read are the model's tensors, from files inside the folder, and nothing on disk changes."""
    folder = damaged(checkpoint, tmp_path / "x")
    text, draw, opened = (folder / INDEX).read_text(), random.Random(1), 0
    expected = Checkpoint(checkpoint)
    for number in range(CASES):
        changed = text
        if number % 4 == 0:
            index = json.loads(text)
            index["weight_map"][draw.choice(list(index["weight_map"]))] = draw.choice(EVIL + GOOD)
            changed = json.dumps(index)
        else:
            changed = mutated(changed, draw)
        (folder / INDEX).write_text(changed, encoding="utf-8")
        before = files(folder)
        try:
            with within(5):
                read = Checkpoint(folder)
        except UserError as error:
            message, read = str(error), None
        assert files(folder) == before
        if read is None:
            assert message.isprintable(), (number, message)
            assert str(folder) in message, (number, message)
            continue
        opened += 1
        assert all((folder / shard).resolve().parent == folder for shard in read.shards), number
        assert all(read.raw(name) == expected.raw(name) for name in read.tensors), number
    assert 10 <= opened <= CASES - 100, opened
