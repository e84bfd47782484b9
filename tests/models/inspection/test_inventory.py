"""How parameters and bytes are divided over a model's parts, added up again from the headers by name."""

import math

import pytest

from ream.models.inspection.headers import open_headers
from ream.models.inspection.inventory import Part
from ream.models.storage.checkpoint import Checkpoint
from tests.models import families
from tests.quantized import fp8_checkpoint

FAMILIES = ["qwen3_moe", "deepseek_v3", "qwen3_next", "qwen3_5_moe", "gpt_oss", "llama4"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A family's name, and the folder of its tiny model."""
    return request.param, families.build(request.param, tmp_path_factory.mktemp("inventory") / request.param)


def totals(checkpoint, wanted):
    """Parameters and bytes of the tensors whose names are wanted."""
    names = [info for name, info in checkpoint.tensors.items() if wanted(name)]
    return sum(math.prod(info.shape) for info in names), sum(info.bytes for info in names)


def of(part):
    return part.parameters, part.bytes


@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
def test_every_tensor_is_in_one_part(family):
    name, folder = family
    tiny, parts, checkpoint = families.TINY[name], open_headers(str(folder)).parts, Checkpoint(folder)
    assert of(parts.all) == totals(checkpoint, lambda tensor: True)
    assert of(parts.experts) == totals(checkpoint, lambda tensor: ".experts." in tensor)
    assert of(parts.embedding) == totals(checkpoint, lambda tensor: tensor.endswith("embed_tokens.weight") and (
        "layers." not in tensor
    ))  # fmt: skip
    shared = [".shared_expert", ".mlp.shared_experts", ".feed_forward.shared_expert"]
    moe = [layer.shared for layer in parts.layers if layer.experts.parameters]
    assert sum(part.parameters for part in moe) == totals(checkpoint, lambda t: any(s in t for s in shared))[0]
    assert (parts.vision.parameters > 0) == (tiny.vision is not None)
    assert parts.eager_attention == (name == "gpt_oss")
    assert len(parts.layers) == families.LAYERS + tiny.multi_token
    assert [index for index, layer in enumerate(parts.layers) if layer.experts.parameters] == [
        *tiny.moe_layers, *range(families.LAYERS, families.LAYERS + tiny.multi_token)
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*RoPE scaling:UserWarning")
def test_dropped_layers_are_apart(family):
    name, folder = family
    whole, rest = (open_headers(str(folder), what).parts for what in ("compress", "drop"))
    extra = families.TINY[name].multi_token
    assert (rest.dropped.parameters > 0) == (extra > 0)
    assert of(rest.all) == of(whole.all)
    lost = of(whole.kept(8, 8))[0] - of(rest.kept(8, 8))[0]
    assert lost == rest.dropped.parameters


def test_sizes_by_hand(tmp_path):
    """Mixtral: H = 16, D = 8, N = 8, k = 2, 300 tokens, 3 layers of 2 heads of 8 and one head of keys and values."""
    parts, model = (lambda opened: (opened.parts, opened.architecture))(
        open_headers(str(families.build("mixtral", tmp_path / "m")))
    )
    experts, router, attention, norms = 8 * 3 * 16 * 8, 8 * 16, 16 * 16 + 2 * 8 * 16 + 16 * 16, 2 * 16
    outside = 2 * 300 * 16 + 16
    assert parts.experts == Part(3 * experts, 4 * 3 * experts, 4 * 3 * experts, 3 * experts, 3 * 8 * (8 + 8 + 16))
    assert parts.layers[0].router == Part(router, 4 * router, 4 * router, router, 8)
    assert parts.layers[0].other.parameters == attention + norms
    assert parts.layers[0].other.weights == attention
    assert parts.outside.parameters == outside
    assert parts.largest == 16 * 16
    assert parts.kept(4, 8).parameters == outside + 3 * (attention + norms + (experts + router) // 2)
    assert parts.active(model, 4) == outside + 3 * (attention + norms + router // 2 + experts // 4)


def test_plain_bytes_are_those_of_bfloat16(brain, tmp_path):
    quantised = open_headers(str(fp8_checkpoint(brain, tmp_path / "fp8"))).parts
    plain = open_headers(str(brain)).parts
    assert quantised.all.parameters == plain.all.parameters
    assert quantised.all.plain_bytes == plain.all.plain_bytes == plain.all.bytes
    assert quantised.experts.bytes < plain.experts.bytes
