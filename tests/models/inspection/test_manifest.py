"""The manifest: round trip, and noticing that the model has changed."""

import json

import pytest

from ream.errors import UserError
from ream.models.inspection.manifest import folder_of, load_manifest, locate, manifest_of, split_revision
from tests.models.storage.test_checkpoint import refused
from tests.tiny import EXPERTS, HIDDEN, TOP_K, WIDTH, damaged


def test_round_trip(mixed_depth, tmp_path):
    manifest = manifest_of(str(mixed_depth))
    manifest.save(tmp_path / "manifest.json")
    assert load_manifest(tmp_path / "manifest.json") == manifest
    assert (manifest.family, manifest.layers, manifest.moe_layers) == ("qwen3_moe", 3, (0, 2))
    assert (manifest.experts, manifest.top_k, manifest.hidden, manifest.width) == (EXPERTS, TOP_K, HIDDEN, WIDTH)
    assert (manifest.revision, manifest.dtype, manifest.scores) == (None, "F32", "softmax")
    assert manifest.shards == {path.name: path.stat().st_size for path in mixed_depth.glob("*.safetensors")}
    assert folder_of(manifest) == mixed_depth


def test_the_files_keys_and_their_order(mixed_depth, tmp_path):
    """Every stage depends on the bytes of this file."""
    manifest_of(str(mixed_depth)).save(tmp_path / "manifest.json")
    values = json.loads((tmp_path / "manifest.json").read_text())
    assert list(values) == [
        "path", "revision", "family", "layers", "moe_layers", "experts", "top_k", "hidden", "width", "router_groups",
        "router_top_groups", "router_group_best", "multi_token", "scores", "parameters", "dtype", "shards", "digest",
        "files",
    ]  # fmt: skip
    assert (tmp_path / "manifest.json").read_text() == json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    assert values["moe_layers"] == [0, 2]


def test_a_changed_or_missing_shard_is_noticed(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    manifest = manifest_of(str(folder))
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes() + b"\0")
    refused(lambda: folder_of(manifest), shard.name, "run `dvc repro`")
    shard.unlink()
    refused(lambda: folder_of(manifest), shard.name)


def test_no_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"path": "x"}))
    refused(lambda: load_manifest(tmp_path / "manifest.json"), "not a manifest")
    refused(lambda: load_manifest(tmp_path / "none.json"), "does not exist")


def test_hub_ids_and_revisions(tmp_path):
    assert split_revision("owner/name@main") == ("owner/name", "main")
    assert split_revision("owner/name") == ("owner/name", None)
    (tmp_path / "a@b").mkdir()
    assert split_revision(str(tmp_path / "a@b")) == (str(tmp_path / "a@b"), None)
    refused(lambda: locate("no-such-folder"), "no-such-folder", "owner/name")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE") as caught:
        locate("ream-tests/no-such-model@main")
    assert "ream-tests/no-such-model" in str(caught.value)
