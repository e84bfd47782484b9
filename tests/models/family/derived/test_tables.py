"""Experts that are looked up by token id, in tables whose values are numbers of experts."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.models.family.derived.proof import prove
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.output import write_checkpoint
from tests.compress.walks import decoder_of, opened, random_recipe
from tests.core.test_expert_tables import by_loops
from tests.models.any_moe import EXPERTS, build
from tests.models.storage.test_checkpoint import refused

KEPT = 5
TABLE = "layers.0.ffn.gate.tid2eid"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tiny checkpoint whose names are those of the published ones, without ``model.``, and whose table is int32."""
    folder = build("deepseek_v4", tmp_path_factory.mktemp("hashed") / "x")
    path = folder / "model.safetensors"
    tensors = {name.removeprefix("model."): tensor for name, tensor in load_file(path).items()}
    tensors[TABLE] = tensors[TABLE].int()
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def test_layers_of_both_kinds_are_told_apart(published):
    _, architecture = opened(published)
    assert [[router.name for router in architecture.routers(layer)] for layer in range(2)] == [
        ["gate.weight", "gate.tid2eid"],
        ["gate.weight", "gate.bias"],
    ]


@pytest.mark.parametrize("merge", [False, True])
def test_the_table_is_written_for_the_kept_experts(published, merge, tmp_path):
    checkpoint, architecture = opened(published)
    recipe = random_recipe(architecture, KEPT, merge=merge, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    table, groups = Checkpoint(tmp_path / "out").read(TABLE), recipe.layers[0].groups
    assert table.dtype == torch.int32
    assert table.tolist() == by_loops(checkpoint.read(TABLE).tolist(), groups.kept.tolist(), groups.group.tolist())
    assert merge or all(len(set(row)) == len(row) for row in table.tolist())


def test_the_proof_is_about_layers_with_a_table_too(published, tmp_path):
    checkpoint, architecture = opened(published)
    assert max(prove(checkpoint, architecture).moved, prove(checkpoint, architecture).left_out) < 1e-5
    no_table = tuple(router for router in architecture.family.router if not router.numbers)
    roles = {name: role for name, role in architecture.roles.items() if name != TABLE}
    wrong = replace(architecture, family=replace(architecture.family, router=no_table), roles=roles)
    other = Checkpoint(published)  # of another digest, for proofs are remembered
    other.config["architectures"] = ["DeepseekV4ForCausalLM", "again"]
    refused(lambda: prove(other, wrong), "derived but not understood", "layer 0", "in another order")


def changed(folder, change):
    """A tiny checkpoint with its tensors changed in place by a function."""
    path = build("deepseek_v4", folder) / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def test_a_checkpoint_without_its_table_is_refused(tmp_path):
    folder = changed(tmp_path / "x", lambda tensors: tensors.pop(f"model.{TABLE}"))
    refused(lambda: decoder_of(folder), f"missing model.{TABLE}")


@pytest.mark.parametrize("number", [-1, EXPERTS])
def test_a_number_that_no_expert_has_is_refused(number, tmp_path):
    def change(tensors):
        tensors[f"model.{TABLE}"][17, 1] = number

    folder = changed(tmp_path / "x", change)
    refused(lambda: prove(*opened(folder)), TABLE, f"the expert {number}", "0 to 7")
