"""Numbers of selected experts that config.json has for each layer, as Hunyuan's published configs do."""

import json

import pytest
import torch

from ream.compress.one_shot import collect
from ream.compress.statistics_file import read_sums
from ream.models.family.derived.proof import prove
from ream.recipe.output import write_checkpoint
from tests.compress.walks import Quiet, decoder_of, opened, pieces, random_recipe, sequences
from tests.models.any_moe import LAYERS, build
from tests.models.family.derived.test_any_moe import own
from tests.models.storage.test_checkpoint import refused

KEPT = 5


@pytest.mark.parametrize("selected", [[2, 2, 2], [1, 3, 2]])
@torch.no_grad()
def test_each_layer_selects_as_many_as_the_list_says(selected, tmp_path):
    published = {"moe_intermediate_size": [12] * LAYERS, "num_shared_expert": [1] * LAYERS}
    folder = build("hunyuan_v1_moe", tmp_path / "x", moe_topk=selected, **published)
    checkpoint, architecture = opened(folder)
    assert architecture.top_k == max(selected)
    assert prove(checkpoint, architecture).left_out < 1e-5
    texts = sequences()
    with pieces(tmp_path, texts=texts) as (data, probes, state):
        collect(decoder_of(folder), data, probes, state, Quiet())
        counts = [read_sums(state.folder, layer).count.sum() for layer in range(LAYERS)]
    assert counts == [k * sum(map(len, texts)) for k in selected]
    recipe = random_recipe(architecture, KEPT, merge=False, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert (config["moe_topk"], config["num_experts"]) == (selected, KEPT)
    model = own(tmp_path / "out")
    assert [layer.mlp.gate.top_k for layer in model.model.layers] == selected


def edited(folder, **values):
    path = build("hunyuan_v1_moe", folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def test_lists_that_transformers_does_not_take_are_refused(tmp_path):
    folder = edited(tmp_path / "x", num_experts=[8, 8, 8])
    refused(lambda: opened(folder), "num_experts", "[8, 8, 8]")


def test_a_layer_that_selects_more_experts_than_there_are_is_refused(tmp_path):
    folder = edited(tmp_path / "x", moe_topk=[2, 9, 2])
    refused(lambda: opened(folder), "moe_topk [2, 9, 2] of 8 experts")
