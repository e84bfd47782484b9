"""DeepSeek-V4 in the layout in which it is published: names without ``model.``, a tail for multi-token prediction.

The names and keys are those that transformers' own conversion and configuration read, and that its users list. What is
published in FP8 and FP4 has scales under other names than any format that ream reads, and is refused.
"""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.models.family.derived.proof import prove
from ream.models.inspection.admission import admit
from ream.models.quantization.config import format_of
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.output import write_checkpoint
from tests.compress.walks import opened, random_recipe
from tests.models.any_moe import EXPERTS, HIDDEN, build
from tests.models.family.derived.test_any_moe import KEPT, own
from tests.models.storage.test_checkpoint import refused

RATIOS = {"sliding_attention": 0, "compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
ATTENTION = ["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"]
# Names of the published checkpoints: outside of layers, and of a layer with a table and without compressed attention.
OUTSIDE = {"embed.weight", "head.weight", "norm.weight", "hc_head_fn", "hc_head_base", "hc_head_scale"}
INSIDE = {f"attn.{name}.weight" for name in ("wq_a", "wq_b", "wkv", "wo_a", "wo_b", "q_norm", "kv_norm")}
INSIDE |= {f"hc_{part}_{name}" for part in ("attn", "ffn") for name in ("fn", "base", "scale")}
INSIDE |= {f"ffn.shared_experts.{name}.weight" for name in ("w1", "w2", "w3")}
INSIDE |= {"attn.attn_sink", "attn_norm.weight", "ffn_norm.weight", "ffn.gate.weight", "ffn.gate.tid2eid"}
FP8 = {
    "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "scale_fmt": "ue8m0",
    "weight_block_size": [128, 128],
}  # fmt: skip


def edited(folder, tensors=None, **config):
    """A checkpoint with these tensors and values of config.json in the place of its own; None removes a key."""
    if tensors is not None:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            folder / "model.safetensors",
            {"format": "pt"},
        )
    path = folder / "config.json"
    values = json.loads(path.read_text()) | config
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return folder


def published(folder):
    """A tiny checkpoint with the names and keys of the published ones and of their tail, in float32."""
    rates = {kind: ratio for kind, ratio in RATIOS.items() if ratio}
    build("deepseek_v4", folder, layer_types=ATTENTION, compress_rates=rates)
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        own = name.removeprefix("model.").replace("hc_head.hc_", "hc_head_").replace(".attn.norm.", ".attn.kv_norm.")
        tensors[{"embed_tokens.weight": "embed.weight", "lm_head.weight": "head.weight"}.get(own, own)] = tensor
    assert {name for name in tensors if not name.startswith("layers.")} == OUTSIDE
    inside = {name.removeprefix("layers.0.") for name in tensors if name.startswith("layers.0.")}
    assert {name for name in inside if ".experts." not in name} == INSIDE
    last = {name.removeprefix("layers.2."): tensor for name, tensor in tensors.items() if name.startswith("layers.2.")}
    tail = {name: tensor for name, tensor in last.items() if ".compressor." not in name}
    tail |= {f"{name}.weight": torch.ones(HIDDEN, HIDDEN) for name in ("e_proj", "h_proj")}
    tail |= {f"{name}.weight": torch.ones(HIDDEN) for name in ("enorm", "hnorm", "norm")}
    tail |= {name: tensor for name, tensor in tensors.items() if name.startswith("hc_head")}
    return edited(
        folder, tensors | {f"mtp.0.{name}": tensor.clone() for name, tensor in tail.items()},
        layer_types=None, compress_rates=None, mlp_layer_types=None, num_hash_layers=1,
        compress_ratios=[*(RATIOS[kind] for kind in ATTENTION), 0], num_nextn_predict_layers=1,
        topk_method="noaux_tc", norm_topk_prob=True,
    )  # fmt: skip


def test_the_tail_is_left_out_or_refused(tmp_path):
    folder = published(tmp_path / "x")
    _, architecture = opened(folder)
    assert (architecture.moe_layers, architecture.experts) == ((0, 1, 2), EXPERTS)
    refused(lambda: admit(Checkpoint(folder), against_code=True), "mtp.*", "model.multi_token: drop")
    admitted = admit(Checkpoint(folder), "drop", against_code=True)
    checkpoint, architecture = admitted.checkpoint, admitted.architecture
    assert max(prove(checkpoint, architecture).moved, prove(checkpoint, architecture).left_out) < 1e-5
    recipe = random_recipe(architecture, KEPT, merge=False, width=architecture.width)
    write_checkpoint(checkpoint, architecture, recipe, tmp_path / "out")
    written = Checkpoint(tmp_path / "out")
    assert (written.config["n_routed_experts"], written.config["num_nextn_predict_layers"]) == (KEPT, 0)
    assert written.config["compress_ratios"] == [0, 4, 128, 0]
    assert not [name for name in written.tensors if name.startswith("mtp.")]
    untouched = [name for name in written.tensors if name not in architecture.roles]
    assert all(checkpoint.raw(name) == written.raw(name) for name in untouched)
    model = own(tmp_path / "out")
    kept = recipe.layers[2].groups.kept.tolist()
    gate = checkpoint.read("layers.2.ffn.gate.weight")[kept]
    assert torch.equal(model.model.layers[2].mlp.gate.weight, gate)


def quantised(tensors, expert):
    """Matrices of layers with codes and scales as published; ``expert`` makes those of an expert's matrix."""
    result = {}
    for name, tensor in tensors.items():
        routed = ".ffn.experts." in name
        if tensor.dim() != 2 or not (routed or name.endswith(("wq_a.weight", "wkv.weight"))) or "compressor" in name:
            result[name] = tensor
            continue
        codes, scale = expert(tensor) if routed else blocks(tensor)
        result |= {name: codes, f"{name.removesuffix('.weight')}.scale": scale}
    return result


def blocks(tensor):
    """FP8 codes, and a scale for each block of 128 x 128."""
    return tensor.to(torch.float8_e4m3fn), torch.ones(1, 1).to(torch.float8_e8m0fnu)


def packed(tensor):
    """FP4 codes, two in a byte, and a scale for 32 of a row."""
    return torch.zeros(tensor.shape[0], tensor.shape[1] // 2, dtype=torch.int8), torch.ones(tensor.shape[0], 1).to(
        torch.float8_e8m0fnu
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_experts_in_fp4_are_refused_by_config_json_alone(wrapped):
    said = {"text_config": {"expert_dtype": "fp4"}} if wrapped else {"expert_dtype": "fp4"}
    refused(lambda: format_of({"quantization_config": FP8} | said), "expert_dtype 'fp4'", "V4", "bfloat16 first")
    assert format_of({"quantization_config": FP8, "expert_dtype": "fp8"}).power_of_two


@pytest.mark.parametrize("expert", [blocks, packed])
def test_what_is_quantised_as_published_is_refused_in_a_line(expert, tmp_path):
    folder = published(tmp_path / "x")
    edited(folder, quantised(load_file(folder / "model.safetensors"), expert), quantization_config=FP8)
    refused(lambda: Checkpoint(folder), ".scale has dtype F8_E8M0", "dequantise the checkpoint to bfloat16 first")
