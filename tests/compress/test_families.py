"""Every family: walked like the model's own forward, compressed, written, loaded again by transformers, and compared
with the same model compressed in memory by plain means."""

import json

import numpy as np
import pytest
import torch

from ream.compress.decide import group_layer
from ream.compress.one_shot import collect
from ream.compress.sequential import compress_sequentially
from ream.compress.statistics_file import read_sums
from ream.core.recipe import Recipe
from ream.models.family.architecture import without_multi_token
from ream.models.multi_token_entry import multi_token_entry
from ream.models.storage.checkpoint import Checkpoint
from ream.params import Method, load_params
from ream.recipe.apply import CompressedLayer
from ream.recipe.load import load_model
from ream.recipe.multi_token import multi_token_tensors
from ream.recipe.output import write_checkpoint
from tests.compress.walks import Quiet, decoder_of, opened, pieces, random_recipe
from tests.models import routing
from tests.models.families import HIDDEN, LAYERS, TINY, VOCABULARY, WIDTH, build
from tests.subsets import some_slow
from tests.tiny import ROOT

KEPT = 4
CLOSE = {"rtol": 1e-3, "atol": 2e-4}  # float32, of logits around 1; another compression is off by over 1e-2
FAMILIES = sorted(TINY)
UNLIKE = ("deepseek_v3", "gpt_oss", "llama4", "qwen3_moe", "qwen3_next")  # each in another way; others are like one
SOME = (*UNLIKE, "ernie4_5_moe")  # in longer tests
MULTI_TOKEN = [name for name in FAMILIES if TINY[name].multi_token]
pytestmark = pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The folder of a family's tiny checkpoint, built once."""
    built = {}

    def folder(family):
        if family not in built:
            built[family] = build(family, tmp_path_factory.mktemp("families") / family)
        return built[family]

    return folder


def method(name):
    return load_params(ROOT / "params.yaml").method(name)


def own(folder, family):
    """The model as transformers itself loads it from the folder, and its config.json."""
    import transformers

    text = json.loads((folder / "config.json").read_text())
    given = {}
    if family == "kimi_k2":  # known to transformers under another name only
        given["config"] = transformers.DeepseekV3Config(**text | {"model_type": "deepseek_v3"})
    model = getattr(transformers, TINY[family].model).from_pretrained(folder, dtype=torch.float32, **given)
    return model.eval(), text


def text_layers(model):
    """The text model's decoder layers."""
    return next(
        module
        for name, module in model.named_modules()
        if name.endswith("layers") and "vision" not in name and "visual" not in name
    )


def block_of(layer):
    return layer.feed_forward if hasattr(layer, "feed_forward") else layer.mlp


def blocks(model):
    """MoE blocks by layer."""
    found = {index: block_of(layer) for index, layer in enumerate(text_layers(model))}
    return {index: block for index, block in found.items() if hasattr(block, "experts")}


def router_of(block):
    return block.router if hasattr(block, "router") else block.gate


def bias_of(block):
    """The correction bias of a block, [N]; None where it has none."""
    for holder in (router_of(block), block, getattr(router_of(block), "moe_statics", None)):
        if holder is not None and hasattr(holder, "e_score_correction_bias"):
            return holder.e_score_correction_bias.reshape(-1)
    return None


def weights_of(family, block):
    """(gate [N, D, H], up [N, D, H], down [N, H, D]) of a transformers block, and the biases of gpt-oss."""
    gate_up, down = block.experts.gate_up_proj.detach(), block.experts.down_proj.detach()
    if family == "gpt_oss":
        bias = block.experts.gate_up_proj_bias.detach()
        return (
            gate_up[:, :, 0::2].transpose(1, 2), gate_up[:, :, 1::2].transpose(1, 2), down.transpose(1, 2),
            bias[:, 0::2], bias[:, 1::2], block.experts.down_proj_bias.detach(),
        )  # fmt: skip
    if family.startswith("llama4"):
        return gate_up[:, :, :WIDTH].transpose(1, 2), gate_up[:, :, WIDTH:].transpose(1, 2), down.transpose(1, 2)
    return gate_up[:, :WIDTH], gate_up[:, WIDTH:], down


@torch.no_grad()
def replace_experts(family, block, layer):
    """Apply a layer's recipe to a transformers block in memory: weighted means of permuted experts, fewer rows."""
    original, new = weights_of(family, block), []
    for position in range(len(layer.groups.kept)):
        total = [torch.zeros(tensor.shape[1:]) for tensor in original]
        for j in np.flatnonzero(layer.groups.group == position):
            order = torch.from_numpy(layer.permutations.get(int(j), np.arange(WIDTH)))
            gate, up, down, *biases = (tensor[j] for tensor in original)
            moved = [gate[order], up[order], down[:, order]]
            if biases:
                moved += [biases[0][order], biases[1][order], biases[2]]
            for into, tensor in zip(total, moved, strict=True):
                into += float(layer.weights[j]) * tensor
        new.append(total)
    gate, up, down, *biases = (torch.stack(tensors) for tensors in zip(*new, strict=True))
    if family == "gpt_oss":
        joined = torch.stack([gate, up], dim=2).flatten(1, 2).transpose(1, 2)
        block.experts.gate_up_proj_bias = parameter(torch.stack(biases[:2], dim=2).flatten(1, 2))
        block.experts.down_proj_bias = parameter(biases[2])
    else:
        joined = torch.cat([gate, up], dim=1)
    transposed = family.startswith("llama4")
    block.experts.gate_up_proj = parameter(joined.transpose(1, 2) if transposed else joined)
    block.experts.down_proj = parameter(down.transpose(1, 2) if transposed or family == "gpt_oss" else down)
    kept, router = torch.from_numpy(layer.groups.kept), router_of(block)
    router.weight = parameter(router.weight[kept])
    if family == "gpt_oss":
        router.bias = parameter(router.bias[kept])
    if bias_of(block) is not None:
        for holder in (router, block, getattr(router, "moe_statics", None)):
            if holder is not None and hasattr(holder, "e_score_correction_bias"):
                holder.e_score_correction_bias.data = holder.e_score_correction_bias[..., kept].clone()
    for module in (block, block.experts, router):
        if hasattr(module, "num_experts"):
            module.num_experts = len(kept)


def parameter(tensor):
    return torch.nn.Parameter(tensor.contiguous())


@torch.no_grad()
def logits(model):
    ids = torch.randint(VOCABULARY, (3, 11), generator=torch.Generator().manual_seed(9))
    return model(input_ids=ids, use_cache=False).logits


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_walk_is_the_models_own_forward(tiny, family):
    folder = tiny(family)
    model, _ = own(folder, family)
    ids = torch.randint(VOCABULARY, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(12)[None] < torch.tensor([12, 7, 10])[:, None]
    caught = []
    for layer in text_layers(model):
        layer.register_forward_hook(lambda module, given, out: caught.append(out))
    model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
    decoder = decoder_of(folder)
    hidden = decoder.embed(ids)
    for index in range(LAYERS):
        with decoder.layer(index) as layer:
            hidden, x = layer(hidden)
            if x is not None:
                hidden = hidden + decoder.block(index)(x)
        expected = caught[index][0] if isinstance(caught[index], tuple) else caught[index]
        torch.testing.assert_close(hidden[mask], expected[mask], **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_router_decides_as_published_before_and_after_removal(tiny, family):
    folder, kept = tiny(family), TINY[family]
    checkpoint, architecture = opened(folder)
    decoder, config = decoder_of(folder), json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    x = torch.randn(40, HIDDEN, generator=torch.Generator().manual_seed(2))
    for index, layer in group_by_hand(architecture).items():
        compressed = CompressedLayer(checkpoint, architecture, index, layer)
        for block, experts in ((decoder.block(index), range(8)), (decoder.block(index, compressed), compressed.kept)):
            original = block_weights(checkpoint, architecture, index)
            z = (x.double() @ original["rows"].double().T)[:, list(experts)]
            if "bias" in original and family == "gpt_oss":
                z = z + original["bias"].double()[list(experts)]
            answer = block.route(x)
            torch.testing.assert_close(answer.logits.double(), z, **CLOSE)
            for token in range(len(x)):
                expected = routing.selected(
                    family,
                    z[token].tolist(),
                    kept.top_k,
                    bias=original["bias"][list(experts)].tolist() if "bias" in original else None,
                    groups=kept.groups,
                    top_groups=config.get("topk_group") or 1,
                    scale=config.get("routed_scaling_factor") or 1.0,
                )
                found = dict(zip(answer.indices[token].tolist(), answer.weights[token].tolist(), strict=True))
                assert found.keys() == expected.keys()
                for expert, weight in expected.items():
                    assert found[expert] == pytest.approx(weight, rel=1e-4)
                np.testing.assert_allclose(answer.scores[token], routing.score(family, z[token].tolist()), rtol=1e-4)


def group_by_hand(architecture):
    """Of each decoder layer, a recipe that merges what goes into the kept expert before it."""
    recipe = random_recipe(architecture, KEPT, groups=architecture.router_groups)
    return {index: layer for index, layer in recipe.layers.items() if index < architecture.layers}


def block_weights(checkpoint, architecture, index):
    """The router's rows and its bias, read from disk by their endings."""
    prefix = architecture.block_prefix(index)
    found = {}
    for name in checkpoint.tensors:
        if name.startswith(prefix):
            if name.endswith(("gate.weight", "router.weight")) and "shared" not in name:
                found["rows"] = checkpoint.read(name)
            if name.endswith(("e_score_correction_bias", "router.bias")):
                found["bias"] = checkpoint.read(name).reshape(-1)
    return found


@pytest.mark.parametrize(
    ("family", "merge"),
    [pytest.param(family, True, id=f"{family}-merged") for family in FAMILIES]
    + [
        pytest.param(family, False, id=f"{family}-pruned", marks=[] if family in UNLIKE else pytest.mark.slow)
        for family in FAMILIES
    ],
)
def test_written_model_is_the_one_compressed_in_memory(tiny, family, merge, tmp_path):
    folder, out = tiny(family), tmp_path / "out"
    checkpoint, architecture = opened(folder)
    recipe = random_recipe(architecture, KEPT, merge=merge, groups=architecture.router_groups)
    write_checkpoint(checkpoint, architecture, recipe, out)
    expected, _ = own(folder, family)
    for index, block in blocks(expected).items():
        replace_experts(family, block, recipe.layers[index])
    compressed, config = own(out, family)
    numbers = config.get("text_config", config)
    assert [numbers[key] for key in architecture.family.experts_keys if key in numbers] == [KEPT]
    torch.testing.assert_close(logits(compressed), logits(expected), **CLOSE)
    evaluated = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
    torch.testing.assert_close(logits(evaluated), logits(expected), **CLOSE)
    assert not torch.allclose(logits(own(folder, family)[0]), logits(expected), atol=1e-2)
    before, after = Checkpoint(folder), Checkpoint(out)
    untouched = [name for name in before.tensors if name not in architecture.roles]
    assert untouched
    assert all(before.raw(name) == after.raw(name) for name in untouched)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_experts_kept_is_the_original_byte_for_byte(tiny, family, tmp_path):
    folder = tiny(family)
    checkpoint, architecture = opened(folder)
    write_checkpoint(checkpoint, architecture, random_recipe(architecture, 8), tmp_path / "out")
    for path in folder.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize("family", some_slow(FAMILIES, keep=SOME))
def test_one_shot_statistics_and_pruning(tiny, family, tmp_path):
    folder, tiny_model = tiny(family), TINY[family]
    checkpoint, architecture = opened(folder)
    decoder = decoder_of(folder)
    with pieces(tmp_path) as (data, probes, state):
        collect(decoder, data, probes, state, Quiet())
        sums = {index: read_sums(state.folder, index) for index in architecture.moe_layers}
    tokens = int(data.mask.sum())
    layers = {}
    for index, layer in sums.items():
        ahead = index - LAYERS + 1
        assert layer.tokens == tokens - max(0, ahead) * len(data.ids), "the last token of a sequence has none after it"
        assert layer.count.sum() == layer.tokens * tiny_model.top_k
        layers[index] = group_layer(method("reap"), layer, KEPT, 8, architecture.router_groups)
        kept = layers[index].groups.kept
        saliency = np.where(layer.count > 0, layer.weighted_norm_sum / np.maximum(layer.count, 1), 0)
        size = 8 // tiny_model.groups
        for group in range(tiny_model.groups):
            members = [j for j in kept if j // size == group]
            others = [j for j in range(8) if j // size == group and j not in kept]
            assert len(members) == KEPT // tiny_model.groups
            assert min(saliency[members]) >= max(saliency[others])
    write_checkpoint(
        checkpoint, architecture, Recipe(layers, random_recipe(architecture, KEPT).facts), tmp_path / "out"
    )
    expected, _ = own(folder, family)
    for index, block in blocks(expected).items():
        replace_experts(family, block, layers[index])
    torch.testing.assert_close(logits(own(tmp_path / "out", family)[0]), logits(expected), **CLOSE)


@pytest.mark.parametrize("family", some_slow(FAMILIES, keep=SOME))
@torch.no_grad()
def test_statistics_of_the_first_moe_layer_are_the_models_own(tiny, family, tmp_path):
    folder = tiny(family)
    _, architecture = opened(folder)
    model, _ = own(folder, family)
    index = architecture.moe_layers[0]
    block, given = blocks(model)[index], []
    hook = block.register_forward_hook(lambda module, inputs, out: given.append(inputs[0].reshape(-1, HIDDEN)))
    with pieces(tmp_path) as (data, probes, state):
        collect(decoder_of(folder), data, probes, state, Quiet())
        sums = read_sums(state.folder, index)
    for ids, mask in zip(data.ids, data.mask, strict=True):
        model(input_ids=ids[mask][None], use_cache=False)
    hook.remove()
    x = torch.cat(given).double()
    routed = decoder_of(folder).block(index).route(x.float())
    expected = {name: torch.zeros(8).double() for name in ("count", "norm_sum", "weighted_norm_sum")}
    outputs = torch.zeros(2, 8, HIDDEN).double()
    gate, up, down, *biases = (tensor.double() for tensor in weights_of(family, block))
    rows = router_of(block).weight.double()
    for token in range(len(x)):
        chosen = dict(zip(routed.indices[token].tolist(), routed.weights[token].tolist(), strict=True))
        for j in range(8):
            inner = x[token]
            if family.startswith("llama4"):
                inner = inner * torch.sigmoid(rows[j] @ x[token])
            if family == "gpt_oss":
                a = (gate[j] @ inner + biases[0][j]).clamp(max=7.0)
                b = (up[j] @ inner + biases[1][j]).clamp(-7.0, 7.0)
                output = down[j] @ ((b + 1) * a * torch.sigmoid(1.702 * a)) + biases[2][j]
            else:
                output = down[j] @ (torch.nn.functional.silu(gate[j] @ inner) * (up[j] @ inner))
            outputs[0, j] += output
            outputs[1, j] += float(routed.scores[token, j]) * output
            if j in chosen:
                expected["count"][j] += 1
                expected["norm_sum"][j] += output.norm()
                expected["weighted_norm_sum"][j] += chosen[j] * output.norm()
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(sums, name), value, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(sums.output_sum, outputs[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(sums.gated_output_sum, outputs[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", some_slow(FAMILIES, keep=SOME))
def test_sequential(tiny, family, tmp_path):
    folder = tiny(family)
    checkpoint, architecture = opened(folder)
    facts = random_recipe(architecture, KEPT).facts
    with pieces(tmp_path) as (data, probes, state):
        recipe = compress_sequentially(
            decoder_of(folder), data, probes, method("ream").composition(), KEPT, 8, state, Quiet(), facts
        )
    assert sorted(recipe.layers) == list(architecture.moe_layers)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    expected, _ = own(folder, family)
    for index, block in blocks(expected).items():
        replace_experts(family, block, recipe.layers[index])
    torch.testing.assert_close(logits(own(tmp_path / "out", family)[0]), logits(expected), **CLOSE)
    assert any(layer.permutations for layer in recipe.layers.values())


@pytest.mark.parametrize(
    ("family", "merging"),
    some_slow(
        [(family, merging) for merging in ("pruned", "neurons") for family in FAMILIES],
        keep=[*((family, "pruned") for family in SOME), ("qwen3_moe", "neurons"), ("llama4", "neurons")],
    ),
)
def test_refit_is_to_what_the_models_own_blocks_compute(tiny, family, merging, tmp_path):
    """The solver's activations and weights against the block of transformers, by the error that either says is left."""
    folder = tiny(family)
    checkpoint, architecture = opened(folder)
    composition = method("neurons-refit" if merging == "neurons" else "reap").model_dump()
    refitted = Method(**composition | {"sequential": True, "refit": {"target": "layer", "sweeps": 2}}).composition()
    facts = random_recipe(architecture, KEPT).facts
    with pieces(tmp_path, batch_tokens=90) as (data, probes, state):
        recipe = compress_sequentially(decoder_of(folder), data, probes, refitted, KEPT, 8, state, Quiet(), facts)
        for index in architecture.moe_layers:
            errors = state.layer(index)
            assert 0 < errors["refit.fitted"][-1] < 0.9 * errors["refit.fitted"][0]
            solved = [errors["refit.fitted"][-1].item(), errors["refit.held_out"][-1].item()]
            assert errors["refit.written"].tolist() == pytest.approx(solved, rel=1e-3)
            assert recipe.layers[index].corrections
        write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
        ours = load_model(checkpoint, architecture, recipe, torch.device("cpu"), torch.float32)
    assert any(layer.neurons for layer in recipe.layers.values()) == (merging == "neurons")
    torch.testing.assert_close(logits(ours), logits(own(tmp_path / "out", family)[0]), **CLOSE)


@pytest.mark.parametrize("family", MULTI_TOKEN)
def test_multi_token_layers_have_no_stale_count(tiny, family, tmp_path):
    folder = tiny(family)
    checkpoint, architecture = opened(folder)
    assert architecture.multi_token == TINY[family].multi_token
    write_checkpoint(
        checkpoint, architecture, random_recipe(architecture, KEPT, groups=architecture.router_groups), tmp_path / "out"
    )
    _, after = opened(tmp_path / "out")
    assert after.multi_token == architecture.multi_token
    assert after.experts == KEPT


@pytest.mark.parametrize("family", MULTI_TOKEN)
def test_multi_token_layers_can_be_dropped(tiny, family, tmp_path):
    folder = tiny(family)
    checkpoint, whole = opened(folder)
    architecture = without_multi_token(whole)
    recipe = random_recipe(architecture, KEPT, groups=architecture.router_groups)
    assert max(recipe.layers) < LAYERS
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    after, read = opened(tmp_path / "out")
    assert read.multi_token == 0
    assert "multi-token prediction are left out" in (tmp_path / "out" / "README.md").read_text()
    assert not multi_token_tensors(checkpoint, whole) & set(after.tensors)
    assert len(multi_token_tensors(checkpoint, whole)) == len(checkpoint.tensors) - len(
        [name for name in checkpoint.tensors if not name.startswith(("mtp.", f"model.layers.{LAYERS}."))]
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config.get("num_nextn_predict_layers", config.get("num_mtp_layers", 0)) == 0
    index = tmp_path / "out" / "model.safetensors.index.json"
    assert index.exists() is (folder / index.name).exists()
    assert not index.exists() or set(json.loads(index.read_text())["weight_map"]) == set(after.tensors)


@pytest.mark.parametrize("family", ["glm4_moe", "deepseek_v3"])
@torch.no_grad()
def test_multi_token_layer_is_walked_as_transformers_drafts_with_it(tiny, family):
    from transformers.modeling_layers import MtpLayer

    folder = tiny(family)
    model, _ = own(folder, family)
    checkpoint, architecture = opened(folder)
    theirs = MtpLayer(model.config.get_mtp_config(), type(model.model.layers[-1]), type(model.model.norm), 0).eval()
    theirs.load_state_dict(dict(as_transformers_names_it(checkpoint)))
    caught = []
    theirs.mtp_block.register_forward_hook(lambda module, given, out: caught.append(out))
    ids = torch.randint(VOCABULARY, (1, 9), generator=torch.Generator().manual_seed(4))
    last = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :8]
    following, positions = model.model.embed_tokens(ids[:, 1:]), torch.arange(8)[None]
    theirs(following, last, model.model.rotary_emb(last, positions), None, positions, None)
    decoder = decoder_of(folder)
    hidden = decoder.embed(ids)
    for index in range(architecture.depth):
        if index == LAYERS:
            hidden = multi_token_entry(decoder, index)(hidden, ids.roll(-1, dims=1))
        with decoder.layer(index) as layer:
            hidden, x = layer(hidden)
            if x is not None:
                hidden = hidden + decoder.block(index)(x)
    torch.testing.assert_close(hidden[:, :8], caught[0], **CLOSE)


def as_transformers_names_it(checkpoint):
    """Tensors of the multi-token layer by their names in transformers' MtpLayer."""
    stacks = {}
    for name in checkpoint.tensors:
        rest = name.removeprefix(f"model.layers.{LAYERS}.")
        if rest == name or rest.startswith(("embed_tokens", "shared_head.head")):
            continue
        tensor = checkpoint.read(name)
        if ".experts." in rest:
            number, projection = int(rest.split(".")[2]), rest.split(".")[3]
            stacks.setdefault(projection, {})[number] = tensor
        elif rest.startswith(("enorm", "hnorm", "eh_proj")):
            yield rest, tensor
        else:
            yield (
                rest.replace("shared_head.norm", "post_norm") if "shared_head" in rest else f"mtp_block.{rest}",
                tensor,
            )
    gate, up, down = (
        torch.stack([stacks[name][number] for number in range(8)]) for name in ("gate_proj", "up_proj", "down_proj")
    )
    yield "mtp_block.mlp.experts.gate_up_proj", torch.cat([gate, up], dim=1)
    yield "mtp_block.mlp.experts.down_proj", down


@pytest.mark.parametrize("family", [name for name in MULTI_TOKEN if name.startswith("qwen")])
@torch.no_grad()
def test_multi_token_input_by_hand(tiny, family):
    folder = tiny(family)
    checkpoint, _ = opened(folder)
    decoder = decoder_of(folder)
    hidden = torch.randn(1, 4, HIDDEN, generator=torch.Generator().manual_seed(5))
    ids = torch.tensor([[7, 8, 9, 10]])

    def norm(x, name):  # Qwen3-Next's: the weight is counted from 1
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + checkpoint.read(name))

    embedded = checkpoint.read(decoder.architecture.family.embedding)[ids]
    both = [
        norm(embedded, "mtp.pre_fc_norm_embedding.weight"),
        norm(norm(hidden, decoder.architecture.family.final_norm), "mtp.pre_fc_norm_hidden.weight"),
    ]
    expected = torch.cat(both, dim=-1) @ checkpoint.read("mtp.fc.weight").T
    torch.testing.assert_close(multi_token_entry(decoder, LAYERS)(hidden, ids), expected, **CLOSE)
