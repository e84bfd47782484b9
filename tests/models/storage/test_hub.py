"""Models of the hub, from a server on this machine that records requests: only weights that are read are fetched."""

import errno
from pathlib import Path

import pytest
from huggingface_hub import constants, file_download

from ream.models.inspection.manifest import checkpoint_of, folder_of, manifest_of, source_of
from ream.models.storage.checkpoint import SINGLE, Checkpoint
from ream.models.storage.hub import DROPPED
from tests import tiny
from tests.models.storage.fake_hub import NAME, serving
from tests.models.storage.test_checkpoint import FIRST, refused, shard_of


def shards_in(folder):
    return sorted(path.name for path in Path(folder).rglob("*.safetensors"))


def test_a_model_is_described_by_its_headers_alone(hub, checkpoint):
    described, local = manifest_of(NAME), manifest_of(str(checkpoint))
    assert (described.path, described.revision) == (NAME, hub.commit)
    same = ("family", "layers", "moe_layers", "experts", "parameters", "dtype", "shards")
    assert all(getattr(described, name) == getattr(local, name) for name in same)
    assert hub.fetched == []
    assert shards_in(hub.cache) == []
    asked = {request.rpartition("/")[2] for request in hub.requests if "/resolve/" in request}
    assert asked == {"config.json", "model.safetensors.index.json", SINGLE, *local.shards}


def test_headers_longer_than_the_first_request_and_bodies_beyond_it(tmp_path, monkeypatch):
    monkeypatch.setattr("ream.models.storage.hub_ranges.HEADER_BYTES", 500)
    folder = tiny.build(tmp_path / "model", shard="1GB")
    assert (folder / SINGLE).stat().st_size > 20_000
    with serving(folder, tmp_path / "cache", monkeypatch) as served:
        read, local = Checkpoint(source_of(NAME)), Checkpoint(folder)
        assert (read.headers, read.shards, read.tensors) == (local.headers, local.shards, local.tensors)
        assert served.fetched == []
        assert served.sent < sum(len(raw) + 1000 for raw in local.headers.values()) + 20_000 + sum(
            len(data) for name, data in served.files().items() if name != SINGLE
        )


def test_only_shards_that_are_read_are_fetched_and_once(hub, checkpoint):
    read, local = Checkpoint(source_of(NAME)), Checkpoint(checkpoint)
    for _ in range(2):
        assert read.raw(FIRST) == local.raw(FIRST)
    assert hub.fetched == [shard_of(checkpoint, FIRST).name]
    assert shards_in(hub.cache) == hub.fetched
    assert shard_of(source_of(NAME).folder, FIRST).is_symlink()


def test_the_digest_is_the_same_with_and_without_shards_in_the_cache(hub, checkpoint):
    before = manifest_of(NAME)
    for shard in before.shards:
        source_of(NAME).open(shard).close()
    asked = len(hub.requests)
    after = manifest_of(f"{NAME}@{hub.commit}")
    assert after == before
    assert len(hub.requests) == asked
    assert Checkpoint(source_of(NAME, keep_shards=False)).digest() == before.digest
    assert folder_of(before) == source_of(NAME).folder


def test_the_digest_sees_the_content(checkpoint, tmp_path, monkeypatch):
    folder, digests = tiny.damaged(checkpoint, tmp_path / "x"), []
    for cache in ("one", "two"):
        with serving(folder, tmp_path / cache, monkeypatch):
            digests.append(manifest_of(NAME).digest)
        path = shard_of(folder, FIRST)
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert digests[0] != digests[1]


def test_offline_everything_comes_from_the_cache(hub, checkpoint, monkeypatch):
    manifest = manifest_of(NAME)
    checkpoint_of(manifest).raw(FIRST)
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = source_of(NAME)
    shard = shard_of(checkpoint, FIRST).name
    assert source.headers([shard])[0].raw == Checkpoint(checkpoint).headers[shard]
    other = next(name for name in manifest.shards if name != shard)
    refused(lambda: source.open(other), NAME, other, "HF_HUB_OFFLINE is set")
    for name in manifest.shards:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        source.open(name).close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert checkpoint_of(manifest).raw(FIRST) == Checkpoint(checkpoint).raw(FIRST)
    assert len([request for request in hub.requests[asked:] if "/resolve/" not in request]) == 0


def test_dropped_shards_go_and_what_was_in_the_cache_stays(hub, checkpoint):
    names = sorted(manifest_of(NAME).shards)
    source_of(NAME).open(names[0]).close()
    source = source_of(NAME, keep_shards=False)
    for name in names[:3]:
        with source.open(name) as file:
            assert file.read() == (checkpoint / name).read_bytes()
    assert hub.fetched == names[:3]
    assert shards_in(hub.cache / DROPPED) == names[1:3]
    source.drop(names[0])
    source.drop(names[1])
    assert shards_in(hub.cache / DROPPED) == names[2:3]
    source.drop(names[2])
    assert not (hub.cache / DROPPED).exists()
    source.open(names[0]).close()
    assert hub.fetched == names[:3]
    with source.open(names[1]) as file:  # once more
        assert file.read() == (checkpoint / names[1]).read_bytes()


def test_kept_shards_are_not_dropped(hub, checkpoint):
    name = shard_of(checkpoint, FIRST).name
    source = source_of(NAME)
    source.open(name).close()
    source.drop(name)
    assert shards_in(hub.cache) == [name]


def test_a_download_that_breaks_off_goes_on(hub, checkpoint, monkeypatch):
    monkeypatch.setattr(file_download.time, "sleep", lambda seconds: None)
    name, hub.broken = shard_of(checkpoint, FIRST).name, 1
    with source_of(NAME).open(name) as file:
        assert file.read() == (checkpoint / name).read_bytes()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "GatedRepo", ["is gated", "hf auth login"]),
        (401, "RepoNotFound", ["not on the hub, or private"]),
        (404, "RevisionNotFound", ["no such revision"]),
        (418, "", ["cannot be fetched", "check the network"]),
    ],
)
def test_refusals_are_one_line(hub, status, code, words):
    hub.refuse = (status, code)
    assert "\n" not in refused(lambda: source_of(NAME), NAME, *words)


def test_access_lost_between_headers_and_data(hub):
    source = source_of(NAME, keep_shards=False)
    name = next(iter(Checkpoint(source).shards))
    hub.refuse = (403, "GatedRepo")
    assert "\n" not in refused(lambda: source.open(name), NAME, "is gated")


def test_no_such_revision(hub):
    refused(lambda: source_of(f"{NAME}@nowhere"), f"{NAME}@nowhere", "no such revision")


def test_no_network(tmp_path, checkpoint, monkeypatch):
    with serving(checkpoint, tmp_path / "cache", monkeypatch):
        pass
    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        assert "\n" not in refused(lambda: source_of(NAME), NAME, "cannot be fetched")
        patch.chdir(tmp_path)
        (tmp_path / "data").mkdir()
        refused(lambda: source_of("data/demo-mdel"), "the folder data has no 'demo-mdel' either")


def test_a_full_disk(hub, monkeypatch):
    def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    source, name = source_of(NAME), next(iter(manifest_of(NAME).shards))
    monkeypatch.setattr(file_download, "http_get", full)
    refused(lambda: source.open(name), NAME, name, "No space left", "--drop-shards")
    assert shards_in(hub.cache) == []


def test_a_repository_without_safetensors(checkpoint, tmp_path, monkeypatch):
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    for path in folder.glob("model*"):
        path.unlink()
    with serving(folder, tmp_path / "cache", monkeypatch):
        refused(lambda: Checkpoint(source_of(NAME)), "neither", "a safetensors checkpoint is needed")


def test_a_shard_that_the_hub_lacks_or_has_cut(checkpoint, tmp_path, monkeypatch):
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    path = shard_of(folder, FIRST)
    path.write_bytes(path.read_bytes()[:-1])
    with serving(folder, tmp_path / "cache", monkeypatch):
        refused(lambda: Checkpoint(source_of(NAME)), path.name, "truncated or corrupt")
    path.unlink()
    with serving(folder, tmp_path / "other", monkeypatch):
        refused(lambda: Checkpoint(source_of(NAME)), NAME, "headers", "incomplete")
