"""The commands of docs/serving.md, run on the demo model as they are printed there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ream.models.family.architecture import architecture_of
from ream.models.storage.checkpoint import Checkpoint
from ream.recipe.load import load_model
from tests.serving.checkpoints import NEW_TOKENS, reference, scored
from tests.serving.clients import CONVERTER, HERE, LLM_COMPRESSOR, PYTHON, environment, missing, run
from tests.tiny import ROOT

pytestmark = [pytest.mark.serving, pytest.mark.timeout(1800)]
PAGE = ROOT / "docs" / "serving.md"
TEXTS = (
    "The ship left the harbour before dawn, and nobody on the quay knew where it was bound.",
    "def add(first, second):\n    return first + second\n\nprint(add(2, 3))\n",
    "17 + 25 = 42\n12 + 31 = 43\n",
)
# Mean absolute differences of log-probabilities from the unquantised model's, in nats; measured: docs/serving.md.
ROUNDING = {"BF16": 0.02, "Q8_0": 0.1, "Q4_0": 0.5, "W4A16": 0.5}


def block(language: str, mark: str) -> str:
    """The fenced block of the page, in a language, that contains a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (one,) = [text for text in blocks if mark in text]
    return one


def shell(command: str, folder: Path) -> None:
    """Run a command of the page; what it names is taken from this machine's environments."""
    words = shlex.split(command)
    variables = environment()
    if words[0] == "ream":
        words[:1] = [sys.executable, "-m", "ream"]
        variables["PYTHONPATH"] = str(ROOT)
    elif words[:2] == ["python", "llama.cpp/convert_hf_to_gguf.py"]:
        words[:2] = [str(PYTHON), str(HERE / "convert.py"), "qwen2", str(CONVERTER)]
    elif words[0] == "python":
        words[0], variables["PYTHONPATH"] = str(PYTHON), str(LLM_COMPRESSOR)
    done = subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the demo model where the commands expect it; the first command has been run there."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "data").symlink_to(ROOT / "data")
    first, *_ = block("", "llama-quantize").splitlines()
    assert first == block("", "quantise.py").splitlines()[0]
    shell(first, folder)
    return folder


@pytest.fixture(scope="module")
def prompts():
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(ROOT / "data/demo-model/tokenizer.json"))
    return [tokenizer.encode(text).ids[:48] for text in TEXTS]


def mean_difference(ours: dict, theirs: dict) -> float:
    pairs = zip(ours["log_probabilities"], theirs["log_probabilities"], strict=True)
    differences = [abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True)]
    return sum(differences) / len(differences)


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_gguf_is_quantised_after_compression(kind, workplace, prompts, tmp_path):
    if reason := missing("llama.cpp"):
        pytest.skip(reason)
    _, convert, quantise = block("", "llama-quantize").splitlines()
    shell(convert, workplace)
    shell(quantise.replace("Q8_0", kind).replace("q8_0", kind.lower()), workplace)
    whole, quantised = workplace / "demo-23.gguf", workplace / f"demo-23-{kind.lower()}.gguf"
    assert quantised.stat().st_size < {"Q8_0": 0.6, "Q4_0": 0.4}[kind] * whole.stat().st_size
    plain, rounded = run("llama_cpp", [whole, quantised], tmp_path, prompts, NEW_TOKENS)
    expected = reference(workplace / "demo-23", prompts)
    assert mean_difference(plain, expected) < ROUNDING["BF16"]
    assert plain["greedy"] == expected["greedy"]
    assert 1e-3 < mean_difference(rounded, expected) < ROUNDING[kind]


def test_w4a16_is_quantised_after_compression(workplace, prompts):
    """Read by ream itself: vLLM's kernel for it on CPUs needs AMX."""
    if reason := missing("vllm", "llm-compressor"):
        pytest.skip(reason)
    (workplace / "quantise.py").write_text(block("python", "model_free_ptq"))
    expected = reference(workplace / "demo-23", prompts)
    for command in block("", "quantise.py").splitlines()[1:]:
        shell(command, workplace)
    read = Checkpoint(workplace / "demo-23-w4a16")
    assert read.config["quantization_config"]["format"] == "pack-quantized"
    assert read.config["num_experts"] == 23
    model = load_model(read, architecture_of(read), None, torch.device("cpu"), torch.float32)
    assert 1e-3 < mean_difference(scored(model, prompts, 0), expected) < ROUNDING["W4A16"]
