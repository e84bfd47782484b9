"""Rows of a router that stand for no expert: LongCat-Flash's identity, Zaya's skipping; and Zaya's router state."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.models.decoder import Decoder
from ream.models.family.beyond import Beyond
from ream.models.family.derived.proof import prove
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.apply import compressed_layers
from ream.recipe.load import load_model
from ream.recipe.output import write_checkpoint
from ream.recipe.parameters import output_parameters
from tests.compress.walks import decoder_of, opened, random_recipe, sequences
from tests.models.any_moe import EXPERTS, HIDDEN, TOP_K, WIDTH, build
from tests.models.family.derived.test_any_moe import own
from tests.models.family.derived.test_any_moe_merged import logits, merged, sliced
from tests.models.routing import softmax
from tests.models.storage.test_checkpoint import refused

KEPT, ZERO, LAYER = 5, 3, 2
EXPERT = "model.layers.{}.mlp.experts.{}.{}_proj.weight"


def without_zero_experts(folder):
    """LongCat-Flash as published: no tensors of identity experts, and tensors of a layer for multi-token prediction."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for layer in range(3):
        for row in range(EXPERTS, EXPERTS + ZERO):
            for part in ("gate", "up"):
                del tensors[EXPERT.format(layer, row, part)]
    tensors["model.mtp.layers.0.eh_proj.weight"] = torch.ones(HIDDEN, 2 * HIDDEN)
    save_file(tensors, path, {"format": "pt"})
    return folder


def with_zero_experts(folder, count):
    """The same as transformers loads it: with gate and up projections that nothing reads, here of ones."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    for layer in range(3):
        for row in range(count, count + ZERO):
            for part in ("gate", "up"):
                tensors[EXPERT.format(layer, row, part)] = torch.ones(WIDTH, HIDDEN)
    save_file(tensors, path, {"format": "pt"})
    return own(folder)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return without_zero_experts(build("longcat_flash", tmp_path_factory.mktemp("published") / "x"))


@pytest.fixture(scope="module")
def zaya(tmp_path_factory):
    return build("zaya", tmp_path_factory.mktemp("zaya") / "x")


def test_the_rows_are_told_apart(published, zaya):
    _, longcat = opened(published)
    assert longcat.family.beyond == Beyond(ZERO, identity=True)
    assert (longcat.layers, longcat.family.logits_module, longcat.family.scores) == (3, "router", "softmax")
    _, other = opened(zaya)
    assert other.family.beyond == Beyond(1, masked=True)
    assert (other.family.state, other.family.scores, other.family.guessed_scores) == (16, "softmax", False)
    for architecture, rows in ((longcat, ZERO), (other, 1)):
        assert [router.beyond for router in architecture.family.router] == [rows, rows]
        assert architecture.family.router[1].exact


def test_transformers_does_not_load_longcat_as_published(published):
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        own(published)


@pytest.mark.parametrize("merge", [False, True])
def test_longcat_as_published_is_compressed_to_what_the_same_in_memory_computes(published, merge, tmp_path):
    checkpoint, architecture = opened(published)
    assert max(prove(checkpoint, architecture).moved, prove(checkpoint, architecture).left_out) < 1e-5
    recipe = random_recipe(architecture, KEPT, merge=merge, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    written = Checkpoint(tmp_path / "out")
    counts = {name.split(".")[5] for name in written.tensors if ".experts." in name}
    assert counts == set(map(str, range(KEPT)))
    assert written.shape("model.layers.0.mlp.router.classifier.weight") == (KEPT + ZERO, HIDDEN)
    untouched = [name for name in checkpoint.tensors if name not in architecture.roles]
    assert all(checkpoint.raw(name) == written.raw(name) for name in untouched)
    assert output_parameters(checkpoint, architecture, recipe) == sum(
        math.prod(written.shape(n)) for n in written.tensors
    )
    evaluated = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
    compressed = with_zero_experts(tmp_path / "out", KEPT)
    original = with_zero_experts(without_zero_experts(build("longcat_flash", tmp_path / "again")), EXPERTS)
    expected = sliced(merged(original, recipe), compressed, recipe)
    for name, tensor in compressed.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits(evaluated), logits(compressed), rtol=1e-3, atol=2e-4)


def test_zero_experts_that_transformers_writes_stay_behind_the_kept_ones(tmp_path):
    checkpoint, architecture = opened(build("longcat_flash", tmp_path / "x"))
    recipe = random_recipe(architecture, KEPT, merge=False, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    written = Checkpoint(tmp_path / "out")
    for row in range(ZERO):
        before, after = (EXPERT.format(1, first + row, "gate") for first in (EXPERTS, KEPT))
        assert checkpoint.raw(before) == written.raw(after)
    assert output_parameters(checkpoint, architecture, recipe) == sum(
        math.prod(written.shape(n)) for n in written.tensors
    )


def test_a_zero_expert_that_is_missing_is_named(tmp_path):
    folder = build("longcat_flash", tmp_path / "x")
    tensors = load_file(folder / "model.safetensors")
    del tensors[EXPERT.format(1, EXPERTS, "up")]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    refused(lambda: opened(folder), "missing", EXPERT.format(1, EXPERTS, "up"))


def chosen(scores, biases, k):
    """The rows with the k largest sums of score and bias."""
    return sorted(range(len(scores)), key=lambda row: -(scores[row] + biases[row]))[:k]


@pytest.mark.parametrize(("name", "k", "scale"), [("published", TOP_K, 6.0), ("zaya", 1, 1.0)])
@pytest.mark.parametrize("pruned", [False, True])
@torch.no_grad()
def test_routers_decide_as_published_token_by_token(name, k, scale, pruned, request):
    """The softmax is over all rows, those without an expert among them; the bias counts for the selection alone."""
    decoder: Decoder = decoder_of(request.getfixturevalue(name))
    architecture = decoder.architecture
    recipe = random_recipe(architecture, KEPT, merge=False, width=architecture.width)
    layer = compressed_layers(decoder.checkpoint, architecture, recipe)[LAYER] if pruned else None
    kept = recipe.layers[LAYER].groups.kept.tolist() if pruned else list(range(EXPERTS))
    x = 0.5 * torch.randn(200, decoder.block(LAYER).input_width(HIDDEN), generator=torch.Generator().manual_seed(1))
    routing = decoder.block(LAYER, layer).route(x)
    whole = decoder.block(LAYER, layer)
    beyond = architecture.family.beyond.rows
    biases = decoder.checkpoint.read(architecture.tensor_name(LAYER, architecture.family.router[1])).double().tolist()
    own_biases = [biases[expert] for expert in kept] + biases[EXPERTS:]
    seen = []
    router = whole.module.get_submodule(architecture.family.logits_module or "gate.router_mlp.out_proj")
    router.register_forward_hook(lambda module, given, output: seen.append(output))
    whole.module(x[None])
    z = (seen[0][0] if isinstance(seen[0], tuple) else seen[0]).reshape(200, -1)
    assert z.shape[1] == len(kept) + beyond
    none = 0
    for token, row in enumerate(z.double().tolist()):
        p = softmax(row)
        rows = chosen(p, own_biases, k)
        assert sorted(routing.indices[token].tolist()) == sorted(min(each, len(kept)) for each in rows)
        weights = {each: scale * p[each] for each in rows if each < len(kept)}
        ours = dict(zip(routing.indices[token].tolist(), routing.weights[token].tolist(), strict=True))
        assert {each: ours[each] for each in weights} == pytest.approx(weights, rel=1e-4)
        np.testing.assert_allclose(routing.scores[token].double(), p[: len(kept)], rtol=1e-4)
        none += sum(each >= len(kept) for each in rows)
    assert 10 < none < 190 * k
    assert routing.logits.shape == (200, len(kept))


@pytest.mark.parametrize("name", ["published", "zaya"])
@torch.no_grad()
def test_layers_one_at_a_time_give_what_the_model_gives(name, request, tmp_path):
    folder = request.getfixturevalue(name)
    decoder = decoder_of(folder)
    model = own(folder) if name == "zaya" else with_zero_experts(
        without_zero_experts(build("longcat_flash", tmp_path / "x")), EXPERTS
    )  # fmt: skip
    width = decoder.stream[0]
    assert width == (HIDDEN + 16 if name == "zaya" else HIDDEN)
    texts = sequences(4)
    ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    hidden = decoder.embed(ids)
    for index in range(decoder.architecture.layers):
        with decoder.layer(index) as layer:
            kept, x = layer(hidden)
            block = decoder.block(index)
            routing = block.route(x.reshape(-1, x.shape[-1]))
            routed = torch.zeros(x.numel() // x.shape[-1], HIDDEN)
            inputs = block.expert_inputs(x).reshape(-1, HIDDEN)
            for token, (selected, factors) in enumerate(zip(routing.indices, routing.weights, strict=True)):
                for expert, factor in zip(selected.tolist(), factors, strict=True):
                    if expert < EXPERTS:
                        gate, up, down = (getattr(block.experts, part)[expert] for part in ("gate", "up", "down"))
                        neurons = torch.nn.functional.silu(gate @ inputs[token]) * (up @ inputs[token])
                        routed[token] += factor * (down @ neurons)
            answered = block(x, routed.reshape(*x.shape[:2], HIDDEN))
            torch.testing.assert_close(answered, block(x), rtol=1e-4, atol=1e-5)
            hidden = layer.leaving(kept, answered)
    states = decoder.behind(hidden)
    for row, text in enumerate(texts):
        wanted = model.model(input_ids=torch.tensor([text]), use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(states[row, : len(text)], wanted, rtol=1e-3, atol=1e-4)


def test_config_keeps_the_number_of_rows_without_an_expert(published, tmp_path):
    checkpoint, architecture = opened(published)
    write_checkpoint(
        checkpoint,
        architecture,
        random_recipe(architecture, KEPT, merge=False, width=architecture.width),
        tmp_path / "o",
    )
    config = json.loads((tmp_path / "o/config.json").read_text())
    assert (config["n_routed_experts"], config["zero_expert_num"], config["moe_topk"]) == (KEPT, ZERO, TOP_K)
    again = opened(tmp_path / "o")[1]
    assert (again.experts, again.layout[0].beyond) == (KEPT, 0)
