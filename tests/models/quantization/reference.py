"""Quantised formats element by element, written from their definitions.

Everything is in loops over single numbers in float32 and imports nothing of ream.
"""

import bisect
import math
from collections import namedtuple

import numpy as np
import torch

E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
LEAST_SCALE = 2.0**-23
DTYPE_NAMES = {
    torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float8_e4m3fn: "F8_E4M3",
    torch.int32: "I32", torch.int64: "I64", torch.uint8: "U8",
}  # fmt: skip
Header = namedtuple("Header", "dtype shape")


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
    """The code of the nearest float8_e4m3fn, saturating."""
    values = [e4m3(code) for code in range(127)]
    return nearest(abs(float(number)), values) | (128 if math.copysign(1, number) < 0 else 0)


def as_dtype(number, dtype):
    """A number rounded to float32 and then to a dtype."""
    return np.float32(torch.tensor(float(number), dtype=torch.float32).to(dtype).item())


def fp8_encode(weight, block, dtype=torch.float32, power_of_two=False):
    """Codes as integers, and scales, as lists of lists, of a weight [rows, columns]."""
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
    """The weight of codes, given as integers [rows][columns]."""
    weight = torch.zeros(len(codes), len(codes[0]))
    for i, row in enumerate(codes):
        for j, code in enumerate(row):
            weight[i, j] = float(np.float32(e4m3(code)) * np.float32(scales[i // block[0]][j // block[1]]))
    return weight


def fp8_stored(weight, block, dtype=torch.float32, power_of_two=False):
    """Suffixes and tensors as FP8 checkpoints store them."""
    codes, scales = fp8_encode(weight, block, dtype, power_of_two)
    return {
        "": torch.tensor(codes, dtype=torch.uint8).view(torch.float8_e4m3fn),
        "_scale_inv": torch.tensor(scales, dtype=torch.float32).to(dtype),
    }


def packed_words(codes, bits):
    """One row of unsigned codes in int32 words, the first code in the lowest bits."""
    per_word = 32 // bits
    words = []
    for start in range(0, len(codes), per_word):
        word = sum(code << (bits * place) for place, code in enumerate(codes[start : start + per_word]))
        words.append(word - (1 << 32) if word >= 1 << 31 else word)
    return words


def unpacked_words(words, bits, count):
    """The first codes of a row of words, unsigned."""
    per_word = 32 // bits
    return [(words[n // per_word] >> (bits * (n % per_word))) & ((1 << bits) - 1) for n in range(count)]


def packed_stored(weight, group, bits=4, dtype=torch.bfloat16, divisor=7.5, symmetric=True):
    """Suffixes and tensors as compressed-tensors stores them for a weight [rows, columns].

    The scale is max |w| / divisor: for compressed-tensors the divisor is 7.5 with 4 bits and 127.5 with 8, for Kimi 7.
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
    """The weight of what `packed_stored` gives."""
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
    """Suffixes and tensors as gpt-oss stores them, for a weight [..., columns, rows] with columns in blocks of 32."""
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
    """The weight of what `mxfp4_stored` gives."""
    if stored["_blocks"].dim() == 4:
        experts = zip(stored["_blocks"], stored["_scales"], strict=True)
        return torch.stack([mxfp4_decode({"_blocks": blocks, "_scales": scales}) for blocks, scales in experts])
    rows = []
    for blocks, scales in zip(stored["_blocks"].tolist(), stored["_scales"].tolist(), strict=True):
        rows.append([])
        for octets, byte in zip(blocks, scales, strict=True):
            for code in (half for octet in octets for half in (octet & 15, octet >> 4)):
                rows[-1].append((-1 if code & 8 else 1) * E2M1[code & 7] * 2.0 ** (byte - 127))
    return torch.tensor(list(zip(*rows, strict=True)))


def headers(stored):
    """The safetensors headers of stored tensors."""
    return {suffix: Header(DTYPE_NAMES[tensor.dtype], tuple(tensor.shape)) for suffix, tensor in stored.items()}
