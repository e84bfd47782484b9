"""Formats from the quantization_config of the hub's checkpoints, and what is refused."""

import json

import pytest

from ream.models.quantization.config import format_of, left_plain, unquantised_config
from ream.models.quantization.fp8_block import Fp8Block
from ream.models.quantization.mxfp4 import Mxfp4
from ream.models.quantization.pack_quantized import PackQuantized
from tests.models.quantization.helpers import refused

DEEPSEEK = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
MINIMAX = {
    "activation_scheme": "dynamic", "fmt": "float8_e4m3fn", "quant_method": "fp8", "weight_block_size": [128, 128],
    "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"],
}  # fmt: skip
WEIGHTS = {
    "actorder": None, "block_structure": None, "dynamic": False, "group_size": 32, "num_bits": 4, "observer": "minmax",
    "observer_kwargs": {}, "strategy": "group", "symmetric": True, "type": "int",
}  # fmt: skip
KIMI = {
    "config_groups": {
        "group_0": {"input_activations": None, "output_activations": None, "targets": ["Linear"], "weights": WEIGHTS}
    },
    "format": "pack-quantized", "ignore": ["lm_head"], "kv_cache_scheme": None, "quant_method": "compressed-tensors",
    "quantization_status": "compressed", "sparsity_config": {}, "transform_config": {},
}  # fmt: skip
GPT_OSS = {"modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"], "quant_method": "mxfp4"}


def kimi(group=None, top=None, **weights):
    changed = KIMI["config_groups"]["group_0"] | {"weights": WEIGHTS | weights} | (group or {})
    return KIMI | {"config_groups": {"group_0": changed}} | (top or {})


@pytest.mark.parametrize(
    ("config", "form"),
    [
        (DEEPSEEK, Fp8Block((128, 128))),
        (DEEPSEEK | {"scale_fmt": "ue8m0"}, Fp8Block((128, 128), power_of_two=True)),
        (MINIMAX, Fp8Block((128, 128))),
        (DEEPSEEK | {"weight_block_size": [1, 64]}, Fp8Block((1, 64))),
        (KIMI, PackQuantized(4, 32)),
        (kimi(num_bits=8, group_size=128), PackQuantized(8, 128)),
        (kimi(strategy="channel", group_size=None), PackQuantized(4, None)),
        (kimi(strategy="channel", group_size=-1), PackQuantized(4, None)),
        (kimi(symmetric=False), PackQuantized(4, 32, symmetric=False)),
        (kimi(actorder="static"), PackQuantized(4, 32)),
        (kimi({"format": "pack-quantized"}, {"format": None}), PackQuantized(4, 32)),
        (kimi(top={"sparsity_config": {"format": "dense"}}), PackQuantized(4, 32)),
        (GPT_OSS, Mxfp4()),
    ],
)
def test_reads_the_hubs_configs(config, form):
    assert format_of({"model_type": "x", "quantization_config": config}) == form
    assert format_of({"model_type": "x", "text_config": {"quantization_config": config}}) == form


def test_two_config_groups_of_one_scheme_are_one():
    group = KIMI["config_groups"]["group_0"]
    config = KIMI | {"config_groups": {"a": group | {"targets": ["re:.*up_proj"]}, "b": group}}
    assert format_of({"quantization_config": config}) == PackQuantized(4, 32)
    other = group | {"weights": WEIGHTS | {"num_bits": 8}}
    config = KIMI | {"config_groups": {"a": group, "b": other}}
    refused(lambda: format_of({"quantization_config": config}), "2 config_groups", "one scheme")


def test_no_quantization_config_is_no_format():
    assert format_of({"model_type": "x"}) is None
    assert format_of({"quantization_config": None, "text_config": {"hidden_size": 4}}) is None


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"quant_method": "gptq", "bits": 4}, ["gptq", "fp8, compressed-tensors, mxfp4"]),
        ({"quant_method": "awq"}, ["awq"]),
        ({"bits": 4}, ["None"]),
        (DEEPSEEK | {"weight_block_size": None}, ["weight_block_size None", "[128, 128]"]),
        (DEEPSEEK | {"weight_block_size": [128]}, ["weight_block_size [128]"]),
        (DEEPSEEK | {"fmt": "e5m2"}, ["fmt e5m2", "e4m3"]),
        (DEEPSEEK | {"activation_scheme": "static"}, ["activation_scheme static", "dynamic"]),
        (DEEPSEEK | {"expert_dtype": "fp4"}, ["expert_dtype fp4"]),
        (KIMI | {"format": "nvfp4-pack-quantized"}, ["nvfp4-pack-quantized", "supported is pack-quantized"]),
        (kimi({"format": "float-quantized"}), ["float-quantized"]),
        (KIMI | {"config_groups": {}}, ["0 config_groups"]),
        (kimi({"input_activations": {"num_bits": 8}}), ["input_activations", "W4A16"]),
        (kimi(top={"transform_config": {"config_groups": {"u": {}}}}), ["transform_config"]),
        (kimi(top={"sparsity_config": {"format": "sparse-24-bitmask"}}), ["sparsity_config"]),
        (kimi(num_bits=3), ["num_bits 3", "4 or 8"]),
        (kimi(type="float"), ["type float", "int"]),
        (kimi(strategy="tensor"), ["strategy tensor", "group or channel"]),
        (kimi(actorder="group"), ["actorder group", "static or weight"]),
        (kimi(group_size=None), ["group_size None"]),
    ],
)
def test_what_cannot_be_read_is_refused(config, words):
    refused(
        lambda: format_of({"quantization_config": config}, "/models/x/config.json"), "/models/x/", "dequant", *words
    )


def test_two_configs_that_differ_are_refused():
    config = {"quantization_config": DEEPSEEK, "text_config": {"quantization_config": GPT_OSS}}
    refused(lambda: format_of(config, "here"), "here", "two quantization_configs")


def test_the_unquantised_config_says_bfloat16_and_changes_nothing_else():
    config = {
        "model_type": "x", "torch_dtype": "float16", "quantization_config": DEEPSEEK, "name": "ö",
        "text_config": {"dtype": "float32", "quantization_config": DEEPSEEK, "n": 3}, "vision_config": {"dtype": "f"},
    }  # fmt: skip
    text = unquantised_config(json.dumps(config))
    assert json.loads(text) == {
        "model_type": "x", "torch_dtype": "bfloat16", "name": "ö",
        "text_config": {"dtype": "bfloat16", "n": 3}, "vision_config": {"dtype": "f"},
    }  # fmt: skip
    assert "ö" in text
    assert list(json.loads(text)) == [key for key in config if key != "quantization_config"]
    assert format_of(json.loads(text)) is None
    assert json.loads(unquantised_config('{"compression_config": {}}')) == {"torch_dtype": "bfloat16"}


@pytest.mark.parametrize("key", ["ignore", "modules_to_not_convert", "ignored_layers"])
def test_modules_that_stay_plain(key):
    stays = left_plain({key: ["lm_head", "mlp.gate", r"re:.*\.self_attn\..*", "layers.3"]})
    plain = ["lm_head", "model.layers.1.mlp.gate", "model.layers.1.self_attn.q_proj", "model.layers.3.mlp.up_proj"]
    others = ["lm_head2", "model.layers.1.mlp.gate_proj", "model.layers.1.self_attn", "model.layers.30.mlp.up_proj"]
    assert [module for module in plain + others if stays(module)] == plain


def test_without_a_list_no_module_stays_plain():
    assert not left_plain({"ignore": None})("lm_head")
