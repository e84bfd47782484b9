"""Options of `ream compress` and `ream apply` that decide what is written, on a quantised model with an MTP layer."""

import json

import pytest
import torch

from ream.commands.apply import apply
from ream.commands.compress import compress_model
from ream.commands.request import Request
from ream.errors import UserError
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.contents import RECIPE
from ream.recipe.verify import verify
from tests import tiny
from tests.compress.walks import opened
from tests.models.families import LAYERS, build
from tests.quantized import fp8_checkpoint
from tests.subsets import some_slow


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A tiny DeepSeek-V3 in FP8 with a tokenizer."""
    base = tmp_path_factory.mktemp("options")
    build("deepseek_v3", base / "plain")
    tiny.write_tokenizer(base / "plain")
    return fp8_checkpoint(base / "plain", base / "fp8")


@pytest.fixture
def compress(original, tmp_path):
    def run(method="ream", *settings):
        params = tiny.write_params(tmp_path / "p", sequences=4, batch_tokens=48, probes=40)
        request = Request(
            model=str(original), out=tmp_path / "out", experts=4, method=method, mix="a=1", group_size=8,
            settings=("compute.threads=1", *settings),
        )  # fmt: skip
        compress_model(request, params, lambda line: None, lambda line: None)
        return tmp_path / "out"

    return run


def numbers(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("method", some_slow(["ream", "reap"], keep=["ream"]))
def test_by_default_format_and_multi_token_layers_are_kept(compress, original, method):
    out = compress(method)
    _, architecture = opened(out)
    assert (architecture.experts, architecture.multi_token) == (4, 1)
    assert numbers(out)["quantization_config"] == numbers(original)["quantization_config"]
    assert numbers(out)["num_nextn_predict_layers"] == 1
    assert verify(out)["experts"].startswith("4 in each of 3 layers")


@pytest.mark.parametrize("method", some_slow(["ream", "reap"], keep=["reap"]))
def test_multi_token_layers_dropped(compress, original, method):
    out = compress(method, "model.multi_token=drop")
    after, architecture = opened(out)
    assert architecture.multi_token == 0
    assert numbers(out)["num_nextn_predict_layers"] == 0
    assert not [name for name in after.tensors if name.startswith(f"model.layers.{LAYERS}.")]
    assert verify(out)["experts"].startswith("4 in each of 2 layers")


def test_an_unquantised_output_equals_the_one_from_its_recipe(compress, original, tmp_path):
    out = compress("ream", "merge.dtype=bfloat16")
    assert "quantization_config" not in numbers(out)
    assert Checkpoint(out).form is None
    assert {info.dtype for info in Checkpoint(out).tensors.values()} == {"BF16", "F32"}
    apply(str(original), out / RECIPE, tmp_path / "again", "bfloat16")
    for name in Checkpoint(out).tensors:
        assert torch.equal(Checkpoint(out).read(name), Checkpoint(tmp_path / "again").read(name))
    apply(str(original), out / RECIPE, tmp_path / "quantised")
    assert Checkpoint(tmp_path / "quantised").form is not None


def test_wrong_values_are_refused(compress, original, tmp_path):
    with pytest.raises(UserError, match=r"model\.multi_token"):
        compress("ream", "model.multi_token=keep")
    with pytest.raises(UserError, match=r"--merge-dtype: 'int4' is neither"):
        apply(str(original), tmp_path / "no-recipe", tmp_path / "out", "int4")
