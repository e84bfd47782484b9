"""Mutated headers, indices and configs of a checkpoint, through the door of all commands."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from ream.models.inspection.admission import admit
from ream.models.storage.checkpoint import INDEX
from ream.models.storage.shard_source import LocalShards
from ream.recipe.load import load_model
from tests import quantized, tiny
from tests.models import families
from tests.models.storage.strangers import shard
from tests.properties.mutations import cases, json_texts, run, spliced

pytestmark = pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # of absent shared experts


def light(folder):
    return admit(LocalShards(folder), against_code=False)


@pytest.fixture(scope="module")
def tensors(checkpoint):
    return {name: tensor for path in checkpoint.glob("*.safetensors") for name, tensor in load_file(path).items()}


@cases(350)
def test_headers(cases, checkpoint, tmp_path):
    """What is accepted is read as safetensors reads it."""
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    path = min(folder.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")

    def check(text):
        path.write_bytes(shard(text, whole[8 + length :]))
        read = light(folder).checkpoint
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a table
                assert torch.equal(read.read(name), file.get_tensor(name))

    outcomes = run(check, json_texts(json.loads(whole[8 : 8 + length])), cases)
    assert outcomes.lines > cases / 2


@cases(150)
def test_bytes_of_a_shard(cases, checkpoint, tmp_path):
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    path = min(folder.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()

    def check(data):
        path.write_bytes(data)
        read = light(folder).checkpoint
        for name, tensor in load_file(path).items():
            assert read.raw(name) == tensor.numpy().tobytes()

    assert run(check, spliced(whole), cases).lines > cases / 2


@cases(300)
def test_indices(cases, checkpoint, tensors, tmp_path):
    """What is accepted has all tensors of the original, with their values."""
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    value = json.loads((folder / INDEX).read_text())

    def check(text):
        (folder / INDEX).write_text(text, encoding="utf-8", errors="surrogatepass")
        read = light(folder).checkpoint
        assert all(torch.equal(read.read(name), tensor) for name, tensor in tensors.items())

    outcomes = run(check, json_texts(value), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


@cases(250)
def test_configs(cases, checkpoint, tensors, tmp_path):
    """What is accepted has the sizes of the tensors, and makes a model in transformers that computes."""
    folder = tiny.damaged(checkpoint, tmp_path / "x")
    value, truth = json.loads((folder / "config.json").read_text()), light(checkpoint).architecture
    tokens = torch.tensor([[1, 2, 3, 4]])

    def check(text):
        (folder / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        admitted = admit(LocalShards(folder), against_code=True)
        sizes = admitted.architecture
        assert (sizes.layers, sizes.moe_layers, sizes.experts) == (truth.layers, truth.moe_layers, truth.experts)
        assert (sizes.hidden, sizes.width) == (truth.hidden, truth.width)
        assert 1 <= sizes.top_k <= sizes.experts
        model = load_model(admitted.checkpoint, sizes, None, torch.device("cpu"), torch.float32)
        state = model.state_dict()
        assert torch.equal(state["lm_head.weight"], tensors["lm_head.weight"])
        with torch.no_grad():
            assert model(tokens).logits.shape == (1, 4, tiny.VOCABULARY)

    outcomes = run(check, json_texts(value), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


@cases(60)
@pytest.mark.parametrize("family", ["deepseek_v3", "qwen3_next", "gpt_oss", "llama4"])
def test_configs_of_other_families(cases, family, tmp_path):
    """With latent and linear attention, sinks, groups of the router, and a wrapper; with the modelling code."""
    folder = families.build(family, tmp_path / "x")
    value, truth = json.loads((folder / "config.json").read_text()), light(folder).architecture

    def check(text):
        (folder / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        sizes = admit(LocalShards(folder), against_code=True).architecture
        assert (sizes.layers, sizes.moe_layers, sizes.experts) == (truth.layers, truth.moe_layers, truth.experts)

    outcomes = run(check, json_texts(value), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


@cases(60)
@pytest.mark.parametrize("make", [quantized.fp8_checkpoint, quantized.w4a16_checkpoint])
def test_configs_of_quantised_models(cases, make, checkpoint, tmp_path):
    """What is accepted can be decoded, all of it."""
    folder = make(checkpoint, tmp_path / "x")
    value = json.loads((folder / "config.json").read_text())

    def check(text):
        (folder / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        read = light(folder).checkpoint
        for name in read.logical:
            assert tuple(read.read(name).shape) == read.shape(name)

    outcomes = run(check, json_texts(value, keys=["quantization_config"]), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20


@cases(60)
def test_configs_without_shards(cases, checkpoint, tmp_path):
    """`ream inspect` and `ream estimate` plan the tensors from config.json alone."""
    from ream.models.inspection.headers import open_headers

    folder = tmp_path / "x"
    folder.mkdir()
    shutil.copyfile(checkpoint / "config.json", folder / "config.json")
    value = json.loads((folder / "config.json").read_text())

    def check(text):
        (folder / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        headers = open_headers(str(folder))
        assert headers.planned
        assert headers.parts.all.parameters == headers.checkpoint.parameters > 0

    outcomes = run(check, json_texts(value), cases)
    assert min(outcomes.lines, outcomes.results) > cases / 20
