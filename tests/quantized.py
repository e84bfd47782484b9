"""Quantised checkpoints as they lie on the hub, made of tiny ones, and the formats element by element.

The references here are written from the formats' definitions, in loops over single numbers in float32, and import
nothing of ours.
"""

import bisect
import json
import math
import re
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

INDEX = "model.safetensors.index.json"
E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
LEAST_SCALE = 2.0**-23
DTYPE_NAMES = {
    torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float8_e4m3fn: "F8_E4M3",
    torch.int32: "I32", torch.int64: "I64", torch.uint8: "U8",
}  # fmt: skip
Header = namedtuple("Header", "dtype shape")
# moonshotai/Kimi-K2-Thinking's list
KIMI_IGNORE = [
    "lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*",
]  # fmt: skip
ROUTER = r"re:.*\.(gate|router|shared_expert_gate)$"  # in Kimi's code no Linear, in Qwen's one


def e4m3(code):
    """The number that a code of float8_e4m3fn is: 1 sign, 4 exponent (bias 7) and 3 mantissa bits, no infinities."""
    sign, exponent, mantissa = -1.0 if code & 128 else 1.0, code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return math.nan
    if exponent == 0:
        return sign * mantissa / 8 * 2.0**-6
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


def nearest(magnitude, values):
    """The index of the nearest of sorted values, of two equally near ones the even index; the last one saturates."""
    upper = min(bisect.bisect_left(values, magnitude), len(values) - 1)
    lower = max(upper - 1, 0)
    below, above = magnitude - values[lower], values[upper] - magnitude
    if below == above:
        return lower if lower % 2 == 0 else upper
    return lower if below < above else upper


def nearest_e4m3(number):
    values = [e4m3(code) for code in range(127)]
    return nearest(abs(float(number)), values) | (128 if math.copysign(1, number) < 0 else 0)


def as_dtype(number, dtype):
    """A float32 number rounded to a dtype."""
    return np.float32(torch.tensor(float(number), dtype=torch.float32).to(dtype).item())


def fp8_encode(weight, block, dtype=torch.float32, power_of_two=False):
    """weight [rows, columns]; gives codes as integers and scales, as lists of lists."""
    (rows, columns), (b, c) = weight.shape, block
    numbers = weight.float().numpy()
    codes = [[0] * columns for _ in range(rows)]
    scales = []
    for top in range(0, rows, b):
        scales.append([])
        for left in range(0, columns, c):
            inside = [(i, j) for i in range(top, min(top + b, rows)) for j in range(left, min(left + c, columns))]
            largest = max(abs(numbers[i, j]) for i, j in inside)
            scale = largest / np.float32(448) if largest > 0 else np.float32(1)
            if power_of_two:
                scale = np.float32(2.0 ** math.ceil(math.log2(scale)))
            scale = as_dtype(scale, dtype)
            scales[-1].append(float(scale))
            for i, j in inside:
                codes[i][j] = nearest_e4m3(numbers[i, j] / scale)
    return codes, scales


def fp8_decode(codes, scales, block):
    """codes as integers [rows, columns]."""
    weight = torch.zeros(len(codes), len(codes[0]))
    for i, row in enumerate(codes):
        for j, code in enumerate(row):
            weight[i, j] = float(np.float32(e4m3(code)) * np.float32(scales[i // block[0]][j // block[1]]))
    return weight


def fp8_stored(weight, block, dtype=torch.float32, power_of_two=False):
    """Suffixes and tensors, as FP8 checkpoints have them."""
    codes, scales = fp8_encode(weight, block, dtype, power_of_two)
    return {
        "": torch.tensor(codes, dtype=torch.uint8).view(torch.float8_e4m3fn),
        "_scale_inv": torch.tensor(scales, dtype=torch.float32).to(dtype),
    }


def packed_words(codes, bits):
    """One row of unsigned codes in int32 words, the first code in the lowest bits."""
    each = 32 // bits
    words = []
    for start in range(0, len(codes), each):
        word = sum(code << (bits * place) for place, code in enumerate(codes[start : start + each]))
        words.append(word - (1 << 32) if word >= 1 << 31 else word)
    return words


def unpacked_words(words, bits, count):
    each = 32 // bits
    return [(words[n // each] >> (bits * (n % each))) & ((1 << bits) - 1) for n in range(count)]


def packed_stored(weight, group, bits=4, dtype=torch.bfloat16, divisor=7.5, symmetric=True):
    """Suffixes and tensors as compressed-tensors writes them for weight [rows, columns].

    ``divisor``: the scale is max |w| / divisor: 7.5 for compressed-tensors with 4 bits, 7 for Kimi, 127.5 with 8.
    """
    rows, columns = weight.shape
    width, low, high = group or columns, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    numbers = weight.float().numpy()
    packed, scales, zeros = [], [], []
    for i in range(rows):
        row = []
        scales.append([])
        zeros.append([])
        for left in range(0, columns, width):
            inside = numbers[i, left : left + width]
            top, bottom = max(0, *inside), min(0, *inside)
            exact = np.float32(max(top, -bottom)) / np.float32(divisor)
            if not symmetric:
                exact = np.float32(top - bottom) / np.float32(high - low)
            scale = as_dtype(max(exact, LEAST_SCALE), dtype)
            zero = 0 if symmetric else min(max(round(low - float(np.float32(bottom) / scale)), low), high)
            row += [min(max(round(float(w / scale)) + zero, low), high) - low for w in inside]
            scales[-1].append(float(scale))
            zeros[-1].append(zero)
        packed.append(packed_words(row, bits))
    result = {
        "_packed": torch.tensor(packed, dtype=torch.int32),
        "_scale": torch.tensor(scales, dtype=torch.float32).to(dtype),
        "_shape": torch.tensor([rows, columns]),
    }
    if not symmetric:
        columns_of_zeros = [packed_words([z - low for z in column], bits) for column in zip(*zeros, strict=True)]
        result["_zero_point"] = torch.tensor(list(zip(*columns_of_zeros, strict=True)), dtype=torch.int32)
    return result


def packed_decode(stored, group, bits=4):
    rows, columns = stored["_shape"].tolist()
    width, low = group or columns, -(2 ** (bits - 1))
    zeros = [[0] * rows] * stored["_scale"].shape[1]
    if "_zero_point" in stored:
        zeros = [[z + low for z in unpacked_words(words, bits, rows)] for words in stored["_zero_point"].T.tolist()]
    weight = torch.zeros(rows, columns)
    for i, words in enumerate(stored["_packed"].tolist()):
        for j, code in enumerate(unpacked_words(words, bits, columns)):
            scale = np.float32(stored["_scale"][i, j // width].item())
            weight[i, j] = float(np.float32(code + low - zeros[j // width][i]) * scale)
    return weight


def mxfp4_stored(weight):
    """Suffixes and tensors as gpt-oss has them, for a weight [..., columns, rows] with columns in blocks of 32."""
    if weight.dim() == 3:
        experts = [mxfp4_stored(expert) for expert in weight]
        return {suffix: torch.stack([expert[suffix] for expert in experts]) for suffix in experts[0]}
    numbers = weight.T.float().tolist()
    blocks, scales = [], []
    for row in numbers:
        blocks.append([])
        scales.append([])
        for left in range(0, len(row), 32):
            inside = row[left : left + 32]
            largest = max(abs(w) for w in inside)
            byte = min(max(math.floor(math.log2(largest)) - 2 + 127, 0), 254) if largest > 0 else 0
            codes = [
                nearest(abs(w) / 2.0 ** (byte - 127), E2M1) | (8 if math.copysign(1, w) < 0 else 0) for w in inside
            ]
            blocks[-1].append([codes[n] | codes[n + 1] << 4 for n in range(0, 32, 2)])
            scales[-1].append(byte)
    return {"_blocks": torch.tensor(blocks, dtype=torch.uint8), "_scales": torch.tensor(scales, dtype=torch.uint8)}


def mxfp4_decode(stored):
    if stored["_blocks"].dim() == 4:
        each = zip(stored["_blocks"], stored["_scales"], strict=True)
        return torch.stack([mxfp4_decode({"_blocks": blocks, "_scales": scales}) for blocks, scales in each])
    rows = []
    for blocks, scales in zip(stored["_blocks"].tolist(), stored["_scales"].tolist(), strict=True):
        rows.append([])
        for octets, byte in zip(blocks, scales, strict=True):
            for code in (half for octet in octets for half in (octet & 15, octet >> 4)):
                rows[-1].append((-1 if code & 8 else 1) * E2M1[code & 7] * 2.0 ** (byte - 127))
    return torch.tensor(list(zip(*rows, strict=True)))


def headers(stored):
    """What a safetensors header would say of stored tensors."""
    return {suffix: Header(DTYPE_NAMES[tensor.dtype], tuple(tensor.shape)) for suffix, tensor in stored.items()}


def fp8_checkpoint(source, folder, block=(8, 8), dtype=torch.float32, power_of_two=False):
    """A checkpoint's Linear weights in FP8, as Qwen3-Coder-480B-FP8 (scales in bfloat16) and DeepSeek-V3 (float32)."""
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
    """A checkpoint's Linear weights as packed int4: of the experts alone, as Kimi-K2; ``group`` None: a whole row.

    ``ignore``: as in the config, names of modules or ``re:`` patterns.
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
    """The plain checkpoint with the values of a quantised one; what was not quantised keeps its dtype."""
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
    """Shards, index and config.json; the other files as they are."""
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
