"""Quantised checkpoints as they lie on the hub, made of tiny plain ones, and plain ones made of quantised ones."""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.models.quantization.reference import (
    fp8_decode,
    fp8_stored,
    mxfp4_decode,
    mxfp4_stored,
    packed_decode,
    packed_stored,
)

INDEX = "model.safetensors.index.json"
# The list of moonshotai/Kimi-K2-Thinking.
KIMI_IGNORE = [
    "lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
]  # fmt: skip
ROUTER = r"re:.*\.(gate|router|shared_expert_gate)$"  # a Linear in Qwen's code, not in Kimi's


def fp8_checkpoint(source, folder, block=(8, 8), dtype=torch.float32, power_of_two=False):
    """A checkpoint with its Linear weights in FP8, as DeepSeek-V3 (float32 scales) and Qwen3-Coder-FP8 (bfloat16)."""
    names = [name for name in all_tensors(source) if name.endswith(".weight")]
    kept = re.compile(r"lm_head|embed_tokens|norm|\.(gate|shared_expert_gate|router)\.weight$")
    config = {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": list(block),
        "modules_to_not_convert": [name.removesuffix(".weight") for name in names if kept.search(name)],
    } | ({"scale_fmt": "ue8m0"} if power_of_two else {})

    def stored(name, tensor):
        if tensor.dim() == 2 and name.endswith(".weight") and not kept.search(name):
            return fp8_stored(tensor, block, dtype, power_of_two)
        return {"": tensor}

    return _rewritten(source, folder, stored, config)


def w4a16_checkpoint(source, folder, group=8, ignore=(*KIMI_IGNORE, ROUTER), divisor=7.0, symmetric=True):
    """A checkpoint with its Linear weights as packed int4; by default those of the experts alone, as in Kimi-K2.

    Args:
        group: columns of a group; None for whole rows.
        ignore: as in the config: names of modules, or patterns after ``re:``.
        divisor, symmetric: see `packed_stored`.
    """
    weights = {
        "actorder": None, "block_structure": None, "dynamic": False, "group_size": group, "num_bits": 4,
        "observer": "minmax", "observer_kwargs": {}, "strategy": "group" if group else "channel",
        "symmetric": symmetric, "type": "int",
    }  # fmt: skip
    scheme = {"input_activations": None, "output_activations": None, "targets": ["Linear"], "weights": weights}
    config = {
        "config_groups": {"group_0": scheme}, "format": "pack-quantized", "ignore": list(ignore),
        "kv_cache_scheme": None, "quant_method": "compressed-tensors", "quantization_status": "compressed",
    }  # fmt: skip

    def ignored(module):
        return any(re.match(p[3:], module) if p.startswith("re:") else p == module for p in ignore)

    def stored(name, tensor):
        linear = tensor.dim() == 2 and name.endswith(".weight") and not re.search("embed_tokens|norm", name)
        if linear and not ignored(name.removesuffix(".weight")):
            return packed_stored(tensor, group, divisor=divisor, symmetric=symmetric)
        return {"": tensor}

    return _rewritten(source, folder, stored, config)


def mxfp4_checkpoint(source, folder):
    """A gpt-oss checkpoint with its stacked experts in MXFP4."""
    names = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]

    def stored(name, tensor):
        return mxfp4_stored(tensor) if name.endswith(("experts.gate_up_proj", "experts.down_proj")) else {"": tensor}

    return _rewritten(source, folder, stored, {"modules_to_not_convert": names, "quant_method": "mxfp4"})


def dequantised_checkpoint(source, folder, dtype=torch.float32):
    """A plain checkpoint with the values of a quantised one; tensors that were not quantised keep their dtype."""
    config = json.loads((source / "config.json").read_text())["quantization_config"]
    suffixes, decode = {
        "fp8": (("_scale_inv", ""), lambda parts: fp8_decode(
            parts[""].view(torch.uint8).tolist(), parts["_scale_inv"].float().tolist(), config["weight_block_size"]
        )),
        "compressed-tensors": (("_packed", "_scale", "_shape", "_zero_point"), lambda parts: packed_decode(
            parts, config["config_groups"]["group_0"]["weights"]["group_size"]
        )),
        "mxfp4": (("_blocks", "_scales"), mxfp4_decode),
    }[config["quant_method"]]  # fmt: skip
    tensors = all_tensors(source)
    bases = {name.removesuffix(suffixes[0]) for name in tensors if name.endswith(suffixes[0])}
    parts_of = {base: {suffix: base + suffix for suffix in suffixes if base + suffix in tensors} for base in bases}
    parts = {name for names in parts_of.values() for name in names.values()}
    shards = {}
    for shard, names in _shards(source).items():
        shards[shard] = {name: tensors[name] for name in names if name not in parts}
        for base in sorted(bases & {name.removesuffix(suffixes[0]) for name in names if name.endswith(suffixes[0])}):
            stored = {suffix: tensors[name] for suffix, name in parts_of[base].items()}
            shards[shard][base] = decode(stored).to(dtype)
    return _write(source, folder, shards, None)


def all_tensors(folder):
    """Every stored tensor of a checkpoint."""
    shards = sorted(Path(folder).glob("*.safetensors"))
    return {name: tensor for shard in shards for name, tensor in load_file(shard).items()}


def _shards(folder):
    """Shard file names with the names of their tensors."""
    return {shard.name: list(load_file(shard)) for shard in sorted(Path(folder).glob("*.safetensors"))}


def _rewritten(source, folder, stored, config):
    tensors = all_tensors(source)
    shards = {
        shard: {name + suffix: part for name in names for suffix, part in stored(name, tensors[name]).items()}
        for shard, names in _shards(source).items()
    }
    return _write(source, folder, shards, config)


def _write(source, folder, shards, quantization_config):
    """Write shards, index and config.json, and copy the other files."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    for path in Path(source).iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, folder)
    for shard, tensors in shards.items():
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / shard, {"format": "pt"})
    if (folder / INDEX).exists():
        total = sum(tensor.nbytes for tensors in shards.values() for tensor in tensors.values())
        weight_map = {name: shard for shard, tensors in shards.items() for name in sorted(tensors)}
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2)
        (folder / INDEX).write_text(text + "\n")
    config = json.loads((folder / "config.json").read_text())
    config.pop("quantization_config", None)
    if quantization_config is not None:
        config["quantization_config"] = quantization_config
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    return folder
