"""Nemotron 3 as published: a pattern in the place of a list of layers, and MTP layers that transformers ignores."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.models.family.architecture import architecture_of
from ream.models.family.derived.proof import prove
from ream.models.inspection.admission import admit
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.output import write_checkpoint
from tests.compress.walks import random_recipe
from tests.models.any_moe import EXPERTS, HIDDEN, WIDTH, build
from tests.models.family.derived.test_any_moe import KEPT, own
from tests.models.storage.test_checkpoint import refused


def published(folder, **config):
    """The config.json with the names that the published one has."""
    path = folder / "config.json"
    values = json.loads(path.read_text())
    types = values.pop("layers_block_type")
    letters = {"linear_attention": "M", "moe": "E", "full_attention": "*", "mlp": "-"}
    values |= {"hybrid_override_pattern": "".join(map(letters.get, types)), "num_hidden_layers": len(types)}
    path.write_text(json.dumps(values | config))
    return folder


def with_mtp(folder):
    """Two more layers beside the decoder, one with routed experts."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for index in range(EXPERTS):
        start = f"mtp.layers.1.mixer.experts.{index}."
        tensors |= {f"{start}up_proj.weight": torch.ones(WIDTH, HIDDEN)}
        tensors |= {f"{start}down_proj.weight": torch.ones(HIDDEN, WIDTH)}
    tensors |= {"mtp.layers.0.eh_proj.weight": torch.ones(HIDDEN, 2 * HIDDEN)}
    save_file(tensors, path, {"format": "pt"})
    return folder


@pytest.mark.parametrize("groups", [1, 2])
def test_a_pattern_of_layers_is_read(groups, tmp_path):
    """Also where the state space has as many groups as the router, under a key with nearly the same name."""
    folder = published(build("nemotron_h", tmp_path / "x", n_group=groups, topk_group=1, n_groups=2))
    checkpoint = Checkpoint(folder)
    architecture = architecture_of(checkpoint)
    assert (architecture.layers, architecture.moe_layers) == (5, (1, 4))
    assert (architecture.router_groups, architecture.family.router_groups_key) == (groups, "n_group")
    assert max(prove(checkpoint, architecture).moved, prove(checkpoint, architecture).left_out) < 1e-5


def test_multi_token_layers_that_nobody_can_run_are_left_out_or_refused(tmp_path):
    folder = with_mtp(published(build("nemotron_h", tmp_path / "x"), num_nextn_predict_layers=1))
    refused(lambda: admit(Checkpoint(folder), against_code=True), "mtp.*", "model.multi_token: drop")
    admitted = admit(Checkpoint(folder), "drop", against_code=True)
    checkpoint, architecture = admitted.checkpoint, admitted.architecture
    assert admitted.proof is not None
    recipe = random_recipe(architecture, KEPT, merge=False, groups=2, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    written = Checkpoint(tmp_path / "out")
    assert (written.config["n_routed_experts"], written.config["num_nextn_predict_layers"]) == (KEPT, 0)
    assert not [name for name in written.tensors if name.startswith("mtp.")]
    assert own(tmp_path / "out").config.n_routed_experts == KEPT
