"""`ream verify` passes what was written and finds each kind of damage, by file or tensor."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ream.machine.files import file_digest
from ream.models.storage.checkpoint import INDEX, Checkpoint
from ream.recipe.contents import CONTENTS, FORMER_RECIPE, RECIPE, read_contents, recipe_name
from ream.recipe.output import write_checkpoint
from ream.recipe.recipe_file import load_recipe, save_recipe
from ream.recipe.verify import verify
from tests import tiny
from tests.compress.walks import opened, random_recipe
from tests.models.storage.test_checkpoint import refused, rewrite, shard_of

KEPT = 3
TENSOR = "model.layers.1.mlp.experts.2.up_proj.weight"
LAST = "model.layers.2.mlp.experts.2.down_proj.weight"


def written(original, out, merge=True):
    checkpoint, architecture = opened(original)
    write_checkpoint(checkpoint, architecture, random_recipe(architecture, KEPT, merge=merge), out)
    return out


@pytest.fixture(scope="module")
def finished(checkpoint, tmp_path_factory):
    return written(checkpoint, tmp_path_factory.mktemp("verify") / "out")


@pytest.fixture
def out(finished, tmp_path):
    """A copy to be damaged."""
    return tiny.damaged(finished, tmp_path / "copy")


def sealed(out):
    """ream.json as if the damage had been written: what finds it is not the hash."""
    contents = json.loads((out / CONTENTS).read_text())
    for name in contents["files"]:
        contents["files"][name] = {"bytes": (out / name).stat().st_size, "sha256": file_digest(out / name)}
    (out / CONTENTS).write_text(json.dumps(contents))


@pytest.mark.parametrize("which", ["checkpoint", "mixed_depth", "brain"])
@pytest.mark.parametrize("merge", [True, False])
def test_what_was_written_passes(which, merge, request, tmp_path):
    out = written(request.getfixturevalue(which), tmp_path / "out", merge)
    rows = verify(out)
    layers = 2 if which == "mixed_depth" else 3
    assert rows["experts"].startswith(f"{KEPT} in each of {layers} layers")
    tensors = {}
    for shard in out.glob("model-*.safetensors"):
        tensors |= load_file(shard)
    assert rows["tensors"].startswith(f"{len(tensors)}, {sum(t.numel() for t in tensors.values()):,} parameters")
    assert rows["shards"].startswith(f"{len(list(out.glob('model-*.safetensors')))}, ")


def test_contents_are_the_files_lengths_and_hashes(finished):
    contents = read_contents(finished)
    assert set(contents.files) == {path.name for path in finished.glob("*.safetensors")} | {INDEX, RECIPE}
    for name, entry in contents.files.items():
        data = (finished / name).read_bytes()
        assert (entry.bytes, entry.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_card_and_config_may_be_changed_by_people(out):
    (out / "README.md").write_text("mine")
    tiny.rewrite_config(out, lambda config: config | {"rope_theta": 5.0})
    verify(out)


@pytest.mark.parametrize("where", [0.2, 0.5, 0.999])
def test_a_flipped_bit_in_any_shard_is_found(out, where):
    for shard in sorted(out.glob("model-*.safetensors")):
        data = bytearray(shard.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        place = start + int(where * (len(data) - start))
        data[place] ^= 1  # the lowest bit of a float's byte: stays finite
        shard.write_bytes(data)
        refused(lambda: verify(out), shard.name)
        data[place] ^= 1
        shard.write_bytes(data)
    verify(out)


def test_a_truncated_shard_and_a_missing_one(out):
    shard = shard_of(out, TENSOR)
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    refused(lambda: verify(out), shard.name, "truncated")
    shard.unlink()
    refused(lambda: verify(out), shard.name, "is missing")


@pytest.mark.parametrize("count", [KEPT - 1, KEPT + 1])
def test_a_config_with_another_number_of_experts(out, count):
    tiny.rewrite_config(out, lambda config: config | {"num_experts": count})
    refused(lambda: verify(out), "config.json", "number of experts", str(KEPT))


def test_a_second_key_of_the_config_that_counts_otherwise(out):
    tiny.rewrite_config(out, lambda config: config | {"num_local_experts": tiny.EXPERTS})
    refused(lambda: verify(out), "config.json", "number of experts")


def change_index(out, change):
    index = json.loads((out / INDEX).read_text())
    change(index)
    (out / INDEX).write_text(json.dumps(index))
    sealed(out)


def test_an_index_that_points_to_the_wrong_shard(out):
    other = next(shard.name for shard in out.glob("model-*") if shard != shard_of(out, TENSOR))
    change_index(out, lambda index: index["weight_map"].update({TENSOR: other}))
    refused(lambda: verify(out), INDEX, TENSOR, other)


def test_an_index_that_leaves_a_tensor_out_or_counts_wrong(out):
    whole = json.loads((out / INDEX).read_text())
    change_index(out, lambda index: index["weight_map"].pop(TENSOR))
    refused(lambda: verify(out), INDEX, "does not name", TENSOR)
    change_index(out, lambda index: index.update(whole | {"metadata": {"total_size": 7}}))
    refused(lambda: verify(out), INDEX, "total_size 7")


def test_a_changed_index_is_found_by_its_hash(out):
    (out / INDEX).write_text((out / INDEX).read_text() + "\n")
    refused(lambda: verify(out), INDEX, "has changed since it was written")


def test_recipe_missing_damaged_or_of_another_model(out, checkpoint, mixed_depth):
    path = out / RECIPE
    data = path.read_bytes()
    path.unlink()
    refused(lambda: verify(out), RECIPE, "does not exist")
    path.write_bytes(data[:-5])
    refused(lambda: verify(out), RECIPE, "damaged")
    save_recipe(path, random_recipe(opened(mixed_depth)[1], KEPT))
    refused(lambda: verify(out), RECIPE, "layers [0, 2]")
    whole = random_recipe(opened(checkpoint)[1], KEPT)
    save_recipe(path, type(whole)({index: whole.layers[index] for index in (0, 1)}, whole.facts))
    refused(lambda: verify(out), RECIPE, "layers [0, 1]", "[0, 1, 2]")
    save_recipe(path, random_recipe(opened(checkpoint)[1], KEPT, seed=1))
    refused(lambda: verify(out), RECIPE, "has changed since it was written")


@pytest.mark.parametrize("moved", [False, True])
def test_an_earlier_output_has_its_recipe_beside_the_shards(out, moved):
    """As `ream` wrote it, or with the recipe moved since."""
    contents = json.loads((out / CONTENTS).read_text())
    contents["files"][FORMER_RECIPE] = contents["files"].pop(RECIPE)
    (out / CONTENTS).write_text(json.dumps(contents))
    if not moved:
        (out / RECIPE).rename(out / FORMER_RECIPE)
        (out / RECIPE).parent.rmdir()
    assert (f"move it to {RECIPE}" in verify(out)["recipe"]) is not moved
    recipe = out / recipe_name(out)
    assert (recipe == out / RECIPE) is moved
    save_recipe(recipe, replace(load_recipe(recipe), facts=load_recipe(recipe).facts | {"mix": "other"}))
    refused(lambda: verify(out), str(recipe), "has changed since it was written")


def test_a_recipe_or_index_that_ream_json_does_not_name(out):
    for name in (RECIPE, INDEX):
        whole = (out / CONTENTS).read_text()
        contents = json.loads(whole)
        del contents["files"][name]
        (out / CONTENTS).write_text(json.dumps(contents))
        refused(lambda: verify(out), name, CONTENTS)
        (out / CONTENTS).write_text(whole)


def test_a_recipe_that_keeps_another_number_than_it_says(out, checkpoint):
    other = random_recipe(opened(checkpoint)[1], KEPT + 1)
    save_recipe(out / RECIPE, type(other)(other.layers, {**other.facts, "experts": KEPT}))
    refused(lambda: verify(out), f"{out / RECIPE} keeps {KEPT + 1} experts in layer 0, but the model has {KEPT};")


def test_a_recipe_whose_groups_do_not_fit(out):
    recipe = load_recipe(out / RECIPE)
    recipe.layers[1].weights[:] = 0.5
    save_recipe(out / RECIPE, recipe)
    refused(lambda: verify(out), RECIPE, "layer 1", "merge weights")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite(out, value):
    rewrite(out, LAST, lambda tensor: tensor.index_fill(1, torch.tensor([3]), value))
    sealed(out)
    refused(lambda: verify(out), shard_of(out, LAST).name, LAST, "NaN or Inf")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16])
def test_nan_is_found_in_every_dtype(tmp_path, dtype):
    from ream.recipe.verify import _read_shard
    from tests.compress.walks import Quiet

    class Counted(Quiet):
        def update(self, n=1):
            self.done += n

    (tmp_path / "config.json").write_text("{}")
    good = {"a": torch.linspace(-3, 3, 64).to(dtype), "n": torch.arange(5), "e": torch.zeros(0)}
    save_file(good, tmp_path / "model.safetensors")
    progress = Counted()
    digest = _read_shard(Checkpoint(tmp_path), "model.safetensors", progress)
    assert digest == file_digest(tmp_path / "model.safetensors")
    assert progress.done == 3
    bad = good["a"].float()
    bad[63] = math.nan
    save_file(good | {"a": bad.to(dtype)}, tmp_path / "model.safetensors")
    refused(lambda: _read_shard(Checkpoint(tmp_path), "model.safetensors", progress), "a holds NaN or Inf")


def without(out, name):
    path = shard_of(out, name)
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    del tensors[name]
    save_file(tensors, path, metadata=metadata)
    change_index(out, lambda index: index["weight_map"].pop(name))


@pytest.mark.parametrize("name", [TENSOR, "model.layers.1.mlp.gate.weight", "model.layers.0.input_layernorm.weight"])
def test_a_missing_tensor(out, name):
    without(out, name)
    refused(lambda: verify(out), name, "missing")


def test_a_tensor_of_another_dtype(out):
    rewrite(out, LAST, lambda tensor: tensor.to(torch.bfloat16))
    sealed(out)
    refused(lambda: verify(out), LAST, "BF16", "F32")


def test_a_tensor_in_two_shards(out):
    path, other = (sorted(out.glob("model-*.safetensors"))[place] for place in (-1, 0))
    save_file(load_file(other) | dict(list(load_file(path).items())[:1]), other, metadata={"format": "pt"})
    sealed(out)
    refused(lambda: verify(out), "1 tensors are in two shards")


def test_a_shard_too_many(out):
    save_file({"x": torch.ones(1)}, out / "model-00099-of-00099.safetensors")
    refused(lambda: verify(out), "model-00099-of-00099.safetensors", "not a shard of the model", "remove it")


def test_contents_missing_or_damaged(out):
    path = out / CONTENTS
    text = path.read_text()
    for damaged in ("{}", "[]", text.replace("files", "filles"), text.replace("sha256", "md5"), text[:50]):
        path.write_text(damaged)
        refused(lambda: verify(out), CONTENTS)
    path.unlink()
    refused(lambda: verify(out), CONTENTS, "not a finished output")
