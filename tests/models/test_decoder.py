"""The decoder, one layer at a time, against the own forward of the model in transformers."""

import pytest
import torch

from ream.models.decoder import Decoder
from ream.models.expert_weights import OriginalWeights
from ream.models.family.activations import ACTIVATIONS, unit_of
from ream.models.family.architecture import architecture_of
from ream.models.storage.checkpoint import Checkpoint
from tests.models.storage.test_checkpoint import refused, rewrite
from tests.tiny import EXPERTS, HIDDEN, TOP_K, VOCABULARY, damaged

CPU = torch.device("cpu")


def decoder_of(folder, dtype=torch.float32):
    checkpoint = Checkpoint(folder)
    return Decoder(checkpoint, architecture_of(checkpoint), CPU, dtype)


def loaded(folder, dtype=torch.float32):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def batch(padded):
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(VOCABULARY, (5, 12), generator=generator)
    lengths = torch.tensor([12, 7, 1, 10, 12] if padded else [12] * 5)
    return ids, torch.arange(12)[None] < lengths[:, None]


@torch.no_grad()
def walked(decoder, ids, mask, rows=5):
    """Hidden states after every layer, residual + block(x)."""
    hidden, after = decoder.embed(ids), []
    for index in range(decoder.architecture.layers):
        parts = []
        with decoder.layer(index) as layer:
            block = decoder.block(index) if index in decoder.architecture.moe_layers else None
            for start in range(0, len(ids), rows):
                out, x = layer(hidden[start : start + rows])
                assert (x is None) == (block is None)
                parts.append(out if block is None else out + block(x))
        hidden = torch.cat(parts)
        after.append(hidden)
    return after


@torch.no_grad()
def by_the_model(model, ids, mask):
    """Hidden states after every layer, caught in the model's own forward."""
    caught = []
    hooks = [layer.register_forward_hook(lambda *a: caught.append(a[2])) for layer in model.model.layers]
    model(ids, attention_mask=mask.long(), use_cache=False)
    for hook in hooks:
        hook.remove()
    return [tensor[0] if isinstance(tensor, tuple) else tensor for tensor in caught]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("which", ["checkpoint", "mixed_depth"])
def test_walk_equals_the_models_own_forward(which, padded, request):
    folder = request.getfixturevalue(which)
    ids, mask = batch(padded)
    mine, theirs = walked(decoder_of(folder), ids, mask), by_the_model(loaded(folder), ids, mask)
    assert len(mine) == len(theirs) == 3
    for index in range(3):
        torch.testing.assert_close(mine[index][mask], theirs[index][mask], rtol=1e-5, atol=1e-5)
    assert (theirs[2] - theirs[0])[mask].abs().max() > 0.1  # the layers do something


def test_walk_in_bfloat16(brain):
    ids, mask = batch(True)
    mine, theirs = (
        walked(decoder_of(brain, torch.bfloat16), ids, mask),
        by_the_model(loaded(brain, torch.bfloat16), ids, mask),
    )
    assert mine[2].dtype == torch.bfloat16
    torch.testing.assert_close(mine[2][mask], theirs[2][mask], rtol=0.02, atol=0.02)


@pytest.mark.parametrize("rows", [1, 2])
def test_batch_size_changes_nothing(checkpoint, rows):
    ids, mask = batch(True)
    decoder = decoder_of(checkpoint)
    whole, parts = walked(decoder, ids, mask)[2], walked(decoder, ids, mask, rows)[2]
    torch.testing.assert_close(parts[mask], whole[mask], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_block_equals_the_models_block_and_its_gate(checkpoint):
    decoder, model = decoder_of(checkpoint), loaded(checkpoint)
    x = torch.randn(2, 7, HIDDEN, generator=torch.Generator().manual_seed(0))
    flat = x.reshape(-1, HIDDEN)
    for index in range(3):
        block, theirs = decoder.block(index), model.model.layers[index].mlp
        torch.testing.assert_close(block(x), theirs(x), rtol=1e-6, atol=1e-6)
        logits, weights, indices = theirs.gate(flat)
        routing = block.route(flat)
        assert torch.equal(routing.logits, logits)
        assert torch.equal(routing.weights, weights.float())
        assert torch.equal(routing.indices, indices)
        assert routing.indices.shape == (14, TOP_K)
        plain = flat @ theirs.gate.weight.T
        torch.testing.assert_close(routing.scores, torch.softmax(plain, -1))
        top = torch.topk(torch.softmax(plain, -1), TOP_K)
        assert torch.equal(top.indices, indices)
        torch.testing.assert_close(routing.weights, top.values / top.values.sum(-1, keepdim=True))
        torch.testing.assert_close(block.route(flat, "sigmoid").scores, torch.sigmoid(plain))
        assert len(block.experts) == EXPERTS


@torch.no_grad()
def test_block_of_fewer_experts_from_tensors_given(checkpoint):
    decoder = decoder_of(checkpoint)
    kept = [1, 4, 6]

    class Kept(OriginalWeights):
        def __len__(self):
            return len(kept)

        def expert(self, position):
            return super().expert(kept[position])

        def router(self, kind):
            return super().router(kind)[kept]

    small = decoder.block(0, Kept(decoder.checkpoint, decoder.architecture, 0))
    whole = decoder.block(0)
    x = torch.randn(1, 9, HIDDEN, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(9, HIDDEN)
    for token in range(9):
        scores = torch.softmax(whole.module.gate.weight[kept] @ x[0, token], 0)
        top = torch.topk(scores, TOP_K)
        for weight, place in zip(top.values / top.values.sum(), top.indices, strict=True):
            expert = whole.experts[kept[int(place)]]
            h = torch.nn.functional.silu(expert.gate @ x[0, token]) * (expert.up @ x[0, token])
            expected[token] += weight * (expert.down @ h)
    torch.testing.assert_close(small(x)[0], expected, rtol=1e-5, atol=1e-5)


def test_activations_by_name_equal_the_modules_own(checkpoint):
    from transformers.activations import ACT2FN

    x = torch.linspace(-6, 6, 101)
    for name, function in ACTIVATIONS.items():
        torch.testing.assert_close(function(x), ACT2FN[name](x), rtol=1e-6, atol=1e-6)
    block = decoder_of(checkpoint).block(0)
    assert torch.equal(block.unit(x, 2 * x), ACTIVATIONS["silu"](x) * 2 * x)
    refused(lambda: unit_of("gated", {"hidden_act": "swoosh"}), "swoosh", "silu")


def test_weights_are_freed_after_use(mixed_depth):
    decoder = decoder_of(mixed_depth)
    assert all(parameter.is_meta for parameter in decoder.skeleton.parameters())
    for index in range(3):
        with decoder.layer(index):
            real = {name for name, parameter in decoder.skeleton.named_parameters() if not parameter.is_meta}
            assert real
            assert all(name.startswith(f"layers.{index}.") for name in real)
            assert any("mlp" in name for name in real) == (index == 1)
        assert all(parameter.is_meta for parameter in decoder.skeleton.parameters())


def test_weights_are_freed_when_the_block_fails(checkpoint):
    decoder = decoder_of(checkpoint)
    ids, mask = batch(False)
    before = walked(decoder, ids, mask)[2]
    with pytest.raises(RuntimeError, match="stop"), decoder.layer(1):
        raise RuntimeError("stop")
    assert all(parameter.is_meta for parameter in decoder.skeleton.parameters())
    assert torch.equal(walked(decoder, ids, mask)[2], before)


def test_overflow_is_one_line(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    rewrite(folder, "model.layers.1.self_attn.o_proj.weight", lambda tensor: tensor.fill_(3e38))
    ids, mask = batch(False)
    refused(lambda: walked(decoder_of(folder), ids, mask), "layer 1", "NaN or Inf")


def test_a_tensor_the_modelling_code_does_not_know(checkpoint, tmp_path):
    folder = damaged(checkpoint, tmp_path / "x")
    name = "model.layers.1.self_attn.q_norm.weight"
    wrong = name.replace("q_norm", "x_norm")
    for path in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        path.write_bytes(path.read_bytes().replace(name.encode(), wrong.encode()))
    refused(lambda: decoder_of(folder), f"missing {name} (layer 1)", "fetch it again")
