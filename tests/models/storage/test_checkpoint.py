"""Reading a checkpoint against safetensors' own reader, refusing a damaged one, and writing one back."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.errors import UserError
from ream.models.storage.checkpoint import INDEX, Checkpoint
from ream.models.storage.shard_writing import OutputTensor, tensor_bytes, write_shard
from tests.tiny import damaged

FIRST = "model.layers.0.mlp.experts.3.up_proj.weight"


def refused(action, *words):
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def shard_of(folder, name):
    return folder / json.loads((folder / INDEX).read_text())["weight_map"][name]


def rewrite(folder, name, change):
    """One tensor of a checkpoint through a function."""
    path = shard_of(folder, name)
    tensors = load_file(path)
    tensors[name] = change(tensors[name])
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("which", ["checkpoint", "brain"])
def test_reads_what_safetensors_reads(which, request):
    folder = request.getfixturevalue(which)
    read = Checkpoint(folder)
    expected = {}
    for shard in folder.glob("*.safetensors"):
        expected |= load_file(shard)
        assert read.shards[shard.name] == shard.stat().st_size
    assert set(read.tensors) == set(expected)
    assert len(read.shards) > 2
    for name, tensor in expected.items():
        assert read.read(name).dtype == tensor.dtype
        assert torch.equal(read.read(name), tensor)
        assert bytes(read.raw(name)) == tensor_bytes(tensor)
    assert read.parameters == sum(tensor.numel() for tensor in expected.values())


def test_reads_a_single_file_without_index(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "empty": torch.zeros(0, 4), "n": torch.tensor(3)}
    save_file(tensors, tmp_path / "model.safetensors")
    read = Checkpoint(tmp_path)
    assert set(read.tensors) == set(tensors)
    assert all(torch.equal(read.read(name), tensor) for name, tensor in tensors.items() if tensor.numel())
    assert read.tensors["n"].shape == ()


def test_truncated_shard(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    path = shard_of(folder, FIRST)
    whole = path.read_bytes()
    for size in (len(whole) - 1, 100, 4, 0):
        path.write_bytes(whole[:size])
        refused(lambda: Checkpoint(folder), path.name, "truncated or corrupt", f"{size} bytes")
    path.write_bytes(whole + b"x")
    refused(lambda: Checkpoint(folder), path.name, "truncated or corrupt")
    path.write_bytes(whole[:8] + b"\xff" + whole[9:])
    refused(lambda: Checkpoint(folder), path.name, "truncated or corrupt")


def test_shard_cut_after_its_header_was_read(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    read, path = Checkpoint(folder), shard_of(folder, FIRST)
    path.write_bytes(path.read_bytes()[: read.tensors[FIRST].begin + 4])
    refused(lambda: read.read(FIRST), path.name, FIRST)


def test_missing_shard(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    path = shard_of(folder, FIRST)
    path.unlink()
    refused(lambda: Checkpoint(folder), path.name, "is missing")


def test_index_that_names_a_tensor_that_is_not_there(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.extra.weight"] = shard_of(folder, FIRST).name
    (folder / INDEX).write_text(json.dumps(index))
    refused(lambda: Checkpoint(folder), "model.extra.weight", shard_of(folder, FIRST).name)


def test_neither_index_nor_file(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    refused(lambda: Checkpoint(tmp_path), INDEX)
    refused(lambda: Checkpoint(tmp_path / "nowhere"), "config.json", "does not exist")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_by_name(checkpoint, tmp_path, value):
    folder = damaged(checkpoint, tmp_path / "x")
    rewrite(folder, FIRST, lambda tensor: tensor.index_fill(0, torch.tensor(1), value))
    read = Checkpoint(folder)
    refused(lambda: read.read(FIRST), FIRST, "NaN or Inf")
    assert torch.isfinite(read.read(FIRST.replace("3", "4"))).all()


def test_unknown_dtype(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    path = shard_of(folder, FIRST)
    path.write_bytes(path.read_bytes().replace(b'"dtype":"F32"', b'"dtype":"Z99"'))
    refused(lambda: Checkpoint(folder), path.name, "Z99", "BF16")


def test_missing_tensor(checkpoint):
    refused(lambda: Checkpoint(checkpoint).read("model.nothing"), "model.nothing")


@pytest.mark.parametrize("which", ["checkpoint", "brain"])
def test_an_unchanged_shard_is_written_byte_for_byte(which, request, tmp_path):
    folder = request.getfixturevalue(which)
    read = Checkpoint(folder)
    for shard, header in read.headers.items():
        tensors = [
            OutputTensor(info.name, info.dtype, info.shape, lambda name=info.name: [read.raw(name)])
            for info in read.tensors.values()
            if info.shard == shard
        ]
        write_shard(tmp_path / shard, tensors, header)
        assert (tmp_path / shard).read_bytes() == (folder / shard).read_bytes()
    assert len(list(tmp_path.iterdir())) == len(read.shards)


@pytest.mark.parametrize("metadata", [None, {"format": "pt", "made": "by hand"}])
def test_changed_shard_keeps_metadata_and_is_read_by_safetensors(metadata, tmp_path):
    save_file({"a": torch.arange(4.0), "b": torch.ones(2, 2)}, tmp_path / "model.safetensors", metadata=metadata)
    (tmp_path / "config.json").write_text("{}")
    header = Checkpoint(tmp_path).headers["model.safetensors"]
    wanted = {"a": torch.arange(3.0), "c": torch.tensor([1, 2], dtype=torch.int64)}
    tensors = [
        OutputTensor(name, {torch.float32: "F32", torch.int64: "I64"}[tensor.dtype], tuple(tensor.shape),
                     lambda tensor=tensor: [tensor_bytes(tensor)])
        for name, tensor in wanted.items()
    ]  # fmt: skip
    write_shard(tmp_path / "out.safetensors", tensors, header)
    again = load_file(tmp_path / "out.safetensors")
    assert set(again) == set(wanted)
    assert all(torch.equal(again[name], wanted[name]) for name in wanted)
    raw = (tmp_path / "out.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    assert json.loads(raw[8 : 8 + length]).get("__metadata__") == metadata


def test_a_tensor_of_the_wrong_size_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match=re.escape("a: 3 bytes were made, its shape needs 8")):
        write_shard(tmp_path / "x.safetensors", [OutputTensor("a", "F32", (2,), lambda: [b"abc"])])
    assert list(tmp_path.iterdir()) == []


def test_digest_sees_every_byte(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    assert Checkpoint(folder).digest() == Checkpoint(checkpoint).digest()
    rewrite(folder, FIRST, lambda tensor: tensor + 1)
    assert Checkpoint(folder).digest() != Checkpoint(checkpoint).digest()


def test_digest_of_a_large_checkpoint_sees_names_sizes_and_headers(checkpoint, tmp_path, monkeypatch):
    folder, total = damaged(checkpoint, tmp_path / "x"), sum(Checkpoint(checkpoint).shards.values())
    rewrite(folder, FIRST, lambda tensor: tensor + 1)
    monkeypatch.setattr("ream.models.storage.checkpoint.HASHED_BYTES", total)
    assert Checkpoint(folder).digest() != Checkpoint(checkpoint).digest()
    monkeypatch.setattr("ream.models.storage.checkpoint.HASHED_BYTES", total - 1)
    assert Checkpoint(folder).digest() == Checkpoint(checkpoint).digest()
    for path in [*folder.glob("*.safetensors"), folder / INDEX]:
        path.write_bytes(path.read_bytes().replace(b"up_proj", b"xx_proj"))
    assert Checkpoint(folder).digest() != Checkpoint(checkpoint).digest()


def test_one_row_of_a_tensor(checkpoint):
    read = Checkpoint(checkpoint)
    whole = read.read(FIRST)
    for row in range(len(whole)):
        assert torch.equal(read.read(FIRST, row), whole[row])
