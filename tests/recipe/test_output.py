"""The compressed checkpoint: what it computes, what of it is the original's byte for byte, and what is beside it."""

import json
import shutil

import numpy as np
import pytest
import torch

from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe
from ream.models.storage.checkpoint import INDEX, Checkpoint
from ream.recipe.contents import CONTENTS, RECIPE, read_contents
from ream.recipe.output import _taking_the_place_of, check_recipe, write_checkpoint
from ream.recipe.recipe_file import load_recipe
from tests.compress.walks import experts_of, loaded, logits, opened, random_recipe, replaced
from tests.models.storage.test_checkpoint import refused
from tests.tiny import EXPERTS, TOP_K, files

KEPT = 3


def written(folder, out, merge=True, kept=KEPT, scores=None):
    checkpoint, architecture = opened(folder)
    recipe = random_recipe(architecture, kept, merge=merge, digest=checkpoint.digest())
    return recipe, write_checkpoint(checkpoint, architecture, recipe, out, scores)


@pytest.mark.parametrize(("merge", "which"), [(False, "mixed_depth"), (True, "mixed_depth"), (True, "checkpoint")])
def test_logits_equal_those_of_experts_replaced_by_hand(merge, which, request, tmp_path):
    folder = request.getfixturevalue(which)
    recipe, parameters = written(folder, tmp_path / "out", merge)
    by_hand, small = loaded(folder), loaded(tmp_path / "out")
    for index, layer in recipe.layers.items():
        replaced(by_hand.model.layers[index].mlp, layer)
        assert all(len(part) == KEPT for part in experts_of(small.model.layers[index].mlp))
    torch.testing.assert_close(logits(small), logits(by_hand), rtol=1e-5, atol=1e-5)
    assert (logits(small) - logits(loaded(folder))).abs().max() > 0.1
    assert parameters == sum(parameter.numel() for parameter in small.parameters())
    assert small.config.num_experts == KEPT
    assert small.config.num_experts_per_tok == TOP_K


@pytest.mark.parametrize("which", ["checkpoint", "brain"])
def test_layout_and_untouched_bytes(which, request, tmp_path):
    folder = request.getfixturevalue(which)
    recipe, _ = written(folder, tmp_path / "out")
    before, after = Checkpoint(folder), Checkpoint(tmp_path / "out")
    same = 0
    for name, info in after.tensors.items():
        assert info.dtype == before.tensors[name].dtype
        assert (name in opened(folder)[1].roles) or info.shape == before.tensors[name].shape
        if name not in opened(folder)[1].roles:
            assert info.shard == before.tensors[name].shard
            assert after.raw(name) == before.raw(name)
            same += 1
    assert same == len(before.tensors) - 3 * (3 * EXPERTS + 1)
    assert len(after.tensors) == same + 3 * (3 * KEPT + 1)
    for index, layer in recipe.layers.items():
        for position, expert in enumerate(layer.groups.kept):
            for projection in ("gate", "up", "down"):
                template = f"model.layers.{index}.mlp.experts.{{}}.{projection}_proj.weight"
                mine, old = template.format(position), template.format(expert)
                assert after.tensors[mine].shard == before.tensors[old].shard
                alone = (layer.groups.group == position).sum() == 1
                assert (after.raw(mine) == before.raw(old)) == alone
        gate = f"model.layers.{index}.mlp.gate.weight"
        assert torch.equal(after.read(gate), before.read(gate)[layer.groups.kept])
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["weight_map"] == {name: info.shard for name, info in after.tensors.items()}
    assert index["metadata"]["total_size"] == sum(info.bytes for info in after.tensors.values())
    assert index["metadata"]["total_parameters"] == after.parameters


@pytest.mark.parametrize("which", ["checkpoint", "brain"])
def test_config_and_companions(which, request, tmp_path):
    folder, out = request.getfixturevalue(which), tmp_path / "out"
    written(folder, out)
    before, after = (json.loads((place / "config.json").read_text()) for place in (folder, out))
    key = "num_local_experts" if which == "brain" else "num_experts"
    assert after == before | {key: KEPT}
    assert list(after) == list(before)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja", "LICENSE"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()
    assert set(files(out)) <= {*files(folder), "README.md", RECIPE, CONTENTS}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("which", ["mixed_depth", "brain"])
def test_all_experts_kept_is_the_original_byte_for_byte(which, request, tmp_path):
    folder, out = request.getfixturevalue(which), tmp_path / "out"
    written(folder, out, kept=EXPERTS)
    before, after = files(folder), files(out)
    assert set(after) - set(before) == {"README.md", RECIPE, CONTENTS}
    assert all(after[name] == data for name, data in before.items())


def test_the_recipe_beside_it_makes_it_again(mixed_depth, tmp_path):
    written(mixed_depth, tmp_path / "out")
    again = load_recipe(tmp_path / "out" / RECIPE)
    write_checkpoint(*opened(mixed_depth), again, tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "out")


def test_an_original_that_is_an_output_itself_gives_its_ream_json_to_none(checkpoint, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    written(checkpoint, first, kept=5)
    read, architecture = opened(first)
    groups = Groups(np.arange(5), np.arange(5))
    layers = {index: LayerRecipe(groups, np.ones(5), np.ones(5)) for index in architecture.moe_layers}
    write_checkpoint(read, architecture, Recipe(layers, random_recipe(architecture, 5).facts), second)
    assert read_contents(second).files.keys() == read_contents(first).files.keys()
    assert read_contents(second).files[RECIPE] != read_contents(first).files[RECIPE]


def test_output_that_is_not_empty_is_refused_and_an_empty_one_taken(checkpoint, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    written(checkpoint, out)
    kept = files(out)
    refused(lambda: written(checkpoint, out), str(out), "not empty")
    assert files(out) == kept
    (tmp_path / "file").write_text("x")
    refused(lambda: written(checkpoint, tmp_path / "file"), "file", "not empty")


def test_a_full_disk_leaves_nothing(checkpoint, tmp_path, monkeypatch):
    import builtins

    real, writes = open, []

    def full(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        if mode == "wb" and ".safetensors" in str(path):
            writes.append(path)
            if len(writes) == 3:
                file.close()
                return real("/dev/full", mode, *args, **kwargs)  # every write: ENOSPC
        return file

    monkeypatch.setattr(builtins, "open", full)
    refused(lambda: written(checkpoint, tmp_path / "out"), "out", "cannot be written", "No space left on device")
    assert len(writes) == 3
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_no_obstacle(checkpoint, tmp_path):
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half").write_text("x")
    written(checkpoint, tmp_path / "out")
    written(checkpoint, tmp_path / "other")
    assert files(tmp_path / "out") == files(tmp_path / "other")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["other", "out"]


def test_an_error_is_told_also_where_the_folder_has_gone(tmp_path):
    def lost():
        with _taking_the_place_of(tmp_path / "out") as partial:
            shutil.rmtree(partial)
            raise ValueError("the real reason")

    with pytest.raises(ValueError, match="the real reason"):
        lost()
    assert list(tmp_path.iterdir()) == []


def test_damage_found_while_writing_leaves_nothing(checkpoint, tmp_path):
    original = tmp_path / "original"
    shutil.copytree(checkpoint, original)
    read, architecture = opened(original)
    recipe = random_recipe(architecture, KEPT)
    shard = sorted(original.glob("*.safetensors"))[2]
    shard.write_bytes(shard.read_bytes()[:-200])
    refused(lambda: write_checkpoint(read, architecture, recipe, tmp_path / "out"), shard.name)
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_recipe_of_another_model(checkpoint, mixed_depth, tmp_path):
    recipe, _ = written(checkpoint, tmp_path / "out")
    refused(lambda: check_recipe(recipe, opened(mixed_depth)[0].digest(), "dense"), "tiny", "dense", "another model")
    refused(lambda: write_checkpoint(*opened(mixed_depth), recipe, tmp_path / "no"), "[0, 1, 2]", "[0, 2]")
    recipe.layers[1].permutations[next(iter(recipe.layers[1].permutations))][0] = 99
    refused(lambda: write_checkpoint(*opened(checkpoint), recipe, tmp_path / "no"), "layer 1", "permutation")
    assert not (tmp_path / "no").exists()


def test_layers_that_keep_different_numbers(checkpoint, tmp_path):
    read, architecture = opened(checkpoint)
    layers = dict(random_recipe(architecture, KEPT).layers) | {1: random_recipe(architecture, KEPT + 1).layers[1]}
    recipe = type(random_recipe(architecture, KEPT))(layers, {})
    refused(lambda: write_checkpoint(read, architecture, recipe, tmp_path / "no"), "[3, 4]")
    assert np.array_equal([len(layer.groups.kept) for layer in layers.values()], [3, 4, 3])
