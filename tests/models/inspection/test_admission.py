"""The door: what config.json and headers must be, told in one line; every command goes through it; and how fast."""

import json
import os
import time
from functools import partial

import pytest
import torch
from typer.testing import CliRunner

from ream.commands.cli import app
from ream.errors import UserError
from ream.machine.bounded import check_bounded
from ream.models.family.config_json import check_config, read_config
from ream.models.family.families import FAMILIES
from ream.models.inspection import planned
from ream.models.inspection.admission import admit
from ream.models.inspection.planned import PlannedCheckpoint
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.shard_source import LocalShards
from ream.recipe.recipe_file import save_recipe
from ream.workspace.layout import Workspace
from tests import quantized, tiny
from tests.compress.walks import opened, random_recipe
from tests.models import families
from tests.models.damage import with_tensors
from tests.models.published import MODELS, write_config
from tests.models.storage.strangers import entry, shard
from tests.models.storage.test_checkpoint import refused

AT_MOST = 5.0  # seconds of one core for 20,000 tensors, once transformers is imported; it takes half a second


def light(folder):
    return admit(LocalShards(folder), against_code=False)


@pytest.mark.parametrize("model", MODELS)
def test_the_configs_of_public_models_pass(model):
    config = MODELS[model].config
    check_config(config, FAMILIES[config["model_type"]], "config.json")


NAN, INF = float("nan"), float("inf")
WRONG = {
    "num_hidden_layers": [True, 3.0, "3", 0, -1, 1_001, None, [3], 10**30],
    "hidden_size": ["16", 0, 1 << 21, NAN],
    "vocab_size": [0, 300.0, 1 << 28],
    "num_experts": [True, 1 << 17, "8", [8]],
    "num_experts_per_tok": [0, 9, 2.0],
    "moe_intermediate_size": [-8, 0, {}],
    "num_attention_heads": [0, 2.5],
    "max_position_embeddings": [0, INF, -1],
    "decoder_sparse_step": [0, -1, False],
    "mlp_only_layers": [1, [True], ["0"], [-1], {"0": 1}],
    "layer_types": ["full_attention", [1, 2, 3], ["full_attention"]],
    "rms_norm_eps": [NAN, 0, "1e-6", True],
    "rope_theta": [INF, 0, "10000"],
    "rope_parameters": [[], {"rope_theta": NAN}, {"factor": -2.0}, {"rope_type": 3}],
    "hidden_act": [3, ["silu"]],
    "model_type": [3, ["qwen3_moe"], None],
    "tie_word_embeddings": ["false", 0, []],
    "norm_topk_prob": ["yes", 1],
    "eos_token_id": ["</s>", [256, "x"], 2.0],
    "quantization_config": [3, ["fp8"], {"quant_method": "fp8", "weight_block_size": [True, 8]},
        {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": True}}}},
        {"quant_method": "compressed-tensors", "config_groups": ["a"]}, {"quant_method": ["fp8"]}],
}  # fmt: skip


@pytest.mark.parametrize("key", WRONG)
def test_values_of_another_type_or_out_of_range(key, checkpoint, tmp_path):
    """In all that read it, at once, and in one line that names the key."""
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    original = (folder / "config.json").read_text()
    for value in WRONG[key]:
        (folder / "config.json").write_text(json.dumps(json.loads(original) | {key: value}))
        message = refused(lambda: light(folder), str(folder), key)
        assert len(message) < 500 + 2 * len(str(folder))


def test_a_number_of_thousands_of_digits_is_shown_short(checkpoint, tmp_path):
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    tiny.rewrite_config(folder, lambda config: config | {"hidden_size": 10**4000})
    assert len(refused(lambda: light(folder), "hidden_size is 1000000000")) < 500 + len(str(folder))


def test_what_is_not_listed_passes(checkpoint, tmp_path):
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    more = {"note": {"a": [None, NAN]}, "sliding_window": None, "head_dim": 8, "rope_scaling": None, "bos_token_id": -1}
    tiny.rewrite_config(folder, lambda config: config | more)
    assert light(folder).architecture.experts == tiny.EXPERTS
    assert read_config(folder / "config.json")["bos_token_id"] == -1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_hidden_layers": 2}, ["layer 2", "num_hidden_layers"]),
        ({"num_hidden_layers": 5}, ["missing layer 3", "num_hidden_layers 5"]),
        ({"mlp_only_layers": [1]}, ["unexpected routed experts of layer 1", "mlp_only_layers [1]"]),
        ({"decoder_sparse_step": 2}, ["unexpected routed experts of layer 0", "decoder_sparse_step 2"]),
        ({"num_experts": 6}, ["mlp.gate.weight has shape [8, 16]", "config says 6 experts"]),
        ({"num_experts": 9}, ["missing", "experts.8."]),
        ({"num_local_experts": 6}, ["num_experts 8 and num_local_experts 6"]),
        ({"hidden_size": 32}, ["has shape [8, 16], but its config says [8, 32]"]),
        ({"vocab_size": 299}, ["embed_tokens.weight has shape [300, 16]", "[299, 16]", "vocab_size 299"]),
        ({"num_hidden_layers": 1000, "num_experts": 1000}, ["more than 200,000 experts"]),
    ],
)
def test_what_disagrees_with_the_tensors_is_told_by_key_and_layer(changes, words, checkpoint, tmp_path):
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    tiny.rewrite_config(folder, lambda config: config | changes)
    refused(lambda: light(folder), *words)


def test_a_dense_layer_that_should_have_experts(mixed_depth, tmp_path):
    folder = tiny.damaged(mixed_depth, tmp_path / "x")
    tiny.rewrite_config(folder, lambda config: config | {"mlp_only_layers": []})
    refused(lambda: light(folder), "missing the routed experts of layer 1", "mlp_only_layers [], decoder_sparse_step 1")


def test_layers_beyond_the_last_that_are_no_multi_token_layers(tmp_path):
    folder = families.build("glm4_moe", tmp_path / "x")
    tiny.rewrite_config(folder, lambda config: config | {"num_hidden_layers": 2})
    refused(lambda: light(folder), "layer 2", "beyond the 2 layers", "without enorm.weight it is not a multi-")


def test_groups_of_the_router_that_do_not_fit(tmp_path):
    folder = families.build("deepseek_v3", tmp_path / "x")
    for changes in ({"n_group": 3}, {"topk_group": 3}):
        tiny.rewrite_config(folder, lambda config, changes=changes: config | {"n_group": 2, "topk_group": 1} | changes)
        refused(lambda: light(folder), "8 experts", "n_group", "topk_group", "do not fit")


NAME = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(16, 5), [f"{NAME} has shape [16, 5], but other layers like it have [16, 16]"]),
        (torch.ones(16, 16, dtype=torch.int32), [f"{NAME} is I32", "F64, F32, F16, BF16"]),
        (torch.ones(16, 16).to(torch.float8_e4m3fn), [f"{NAME} is F8_E4M3", "no scales"]),
    ],
)
def test_one_tensor_of_one_layer(tensor, words, checkpoint, tmp_path):
    folder = with_tensors(checkpoint, tmp_path / "x", lambda tensors: tensors.update({NAME: tensor}))
    refused(lambda: light(folder), *words)


QUANTISED = {
    "fp8": (quantized.fp8_checkpoint, "_scale_inv"),
    "w4a16": (quantized.w4a16_checkpoint, "_scale"),
    "w4a16 shape": (quantized.w4a16_checkpoint, "_shape"),
    "w4a16 codes": (quantized.w4a16_checkpoint, "_packed"),
}


@pytest.mark.parametrize("case", QUANTISED)
@pytest.mark.parametrize("damage", ["missing", "shape", "axes", "dtype"])
def test_scales_of_quantised_tensors(case, damage, checkpoint, tmp_path):
    """In the last layer alone; nothing of any tensor is read."""
    make, suffix = QUANTISED[case]
    folder = make(checkpoint, tmp_path / "quantised")
    light(folder)
    name = next(n for n in Checkpoint(folder).tensors if n.startswith("model.layers.2.mlp.exp") and n.endswith(suffix))

    def change(tensors):
        part = tensors.pop(name)
        if damage == "shape":
            tensors[name] = torch.cat([part, part])
        elif damage == "axes":
            tensors[name] = part[None].contiguous()
        elif damage == "dtype":
            tensors[name] = torch.zeros(part.shape, dtype=torch.int16)

    broken = with_tensors(folder, tmp_path / "broken", change)
    refused(lambda: light(broken), "broken", name.removesuffix(suffix))


def test_packed_columns_that_fill_no_word(tmp_path):
    """33 columns of 4 bits lie in 5 words of 8, and in 9 groups of 4, not in the 10 of 40 columns."""
    from ream.models.quantization.names import Planned
    from ream.models.quantization.pack_quantized import PackQuantized
    from ream.models.quantization.parts import check_parts

    form = PackQuantized(4, 4)
    for groups, sound in ((8, False), (9, True), (10, True), (11, False)):
        parts = {
            "_packed": Planned("I32", (6, 5)),
            "_scale": Planned("F16", (6, groups)),
            "_shape": Planned("I64", (2,)),
        }
        if sound:
            check_parts(form, [("w", parts)], "x")
        else:
            refused(lambda parts=parts: check_parts(form, [("w", parts)], "x"), "x: w_scale is F16 [6,", "[6, 10]")


@pytest.mark.parametrize(
    ("pattern", "words"), [(r"re:([a-z.0-9_]+)+!", "takes more than 0.5 s"), ("re:(", "is not a regular expression")]
)
def test_regular_expressions_of_a_quantization_config(pattern, words, checkpoint, tmp_path, monkeypatch):
    """They say which modules stay unquantised, and are used where there are no shards."""
    monkeypatch.setattr(planned, "check_bounded", partial(check_bounded, seconds=0.5))
    config = json.loads((quantized.w4a16_checkpoint(checkpoint, tmp_path / "x") / "config.json").read_text())
    config["quantization_config"]["ignore"].append(pattern)
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(lambda: PlannedCheckpoint(tmp_path), "quantization_config", words)


def headers_only(folder, model, shards=16):
    """A checkpoint with these tensors' headers, whose data are holes of sparse files."""
    names, weight_map = list(model.tensors), {}
    for number in range(shards):
        header, end = {}, 0
        for name in names[number::shards]:
            info = model.tensors[name]
            header[name] = entry(end, end + info.bytes, list(info.shape), info.dtype)
            end += info.bytes
            weight_map[name] = f"model-{number:05}.safetensors"
        path = folder / f"model-{number:05}.safetensors"
        path.write_bytes(shard(header, b""))
        os.truncate(path, path.stat().st_size + end)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.slow
def test_20_000_tensors_are_admitted_in_seconds(checkpoint, tmp_path):
    admit(LocalShards(checkpoint), against_code=True)  # which imports
    folder = write_config("Qwen3-30B-A3B", tmp_path / "model")
    headers_only(folder, PlannedCheckpoint(folder))
    start = time.process_time()
    admitted = admit(LocalShards(folder), against_code=True)
    assert time.process_time() - start < AT_MOST
    assert len(admitted.checkpoint.tensors) == 48 * (128 * 3 + 9) + 3


MISSING = "model.layers.2.self_attn.q_proj.weight"


@pytest.mark.parametrize("command", ["inspect", "estimate", "compress", "apply", "evaluate", "stage"])
@pytest.mark.parametrize("damage", ["headers", "code"])
def test_every_command_goes_through_the_door(command, damage, checkpoint, tmp_path):
    """What headers tell, all refuse; what only the modelling code tells, those that would run or write the model."""
    if damage == "headers":
        folder = with_tensors(checkpoint, tmp_path / "x", lambda tensors: tensors.pop(MISSING))
        words = [f"missing {MISSING} (layer 2)"]
    else:
        folder = tiny.damaged(checkpoint, tmp_path / "x")
        tiny.rewrite_config(folder, lambda config: config | {"num_attention_heads": 4})
        words = ["self_attn.q_proj.weight has shape [16, 16], but config.json makes it [32, 16]"]
    save_recipe(tmp_path / "r", random_recipe(opened(checkpoint)[1], 3))
    params, out = tiny.write_params(tmp_path / "p", model=folder), tmp_path / "out"
    arguments = {
        "inspect": ["inspect", folder],
        "estimate": ["estimate", folder, "--experts", 4, "--params", params, "--mix", "a=1"],
        "compress": ["compress", folder, out, "--experts", 4, "--method", "reap", "--params", params, "--mix", "a=1"],
        "apply": ["apply", folder, tmp_path / "r", out],
        "evaluate": ["evaluate", folder, "--params", params, "--out", out],
        "stage": ["stage", "model", "--params", params, "--root", tmp_path / "artifacts"],
    }[command]
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    if damage == "code" and command in ("inspect", "stage"):  # which import no torch
        assert done.exit_code == 0, done.exception
        return
    assert isinstance(done.exception, UserError), done.exception  # exit code 2
    assert all(word in str(done.exception) for word in words)
    assert "\n" not in str(done.exception)
    kept = {"artifacts"} if command == "stage" else set()  # which records what it ran with
    new = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path not in before}
    assert new == kept
    assert not Workspace(tmp_path / "artifacts").manifest.exists()
