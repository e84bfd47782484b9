"""A tiny random Qwen3-MoE with a byte-level tokenizer, and small suites of the demo tasks."""

import numpy as np
import pytest
import torch

from ream import params
from ream.evaluation import harness
from ream.evaluation.demo.items import build_items, write_rows

VOCABULARY = 300


def tiny_config(**changes):
    from transformers import Qwen3MoeConfig

    settings = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "moe_intermediate_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "num_experts": 4,
        "num_experts_per_tok": 2, "norm_topk_prob": True, "max_position_embeddings": 512, "bos_token_id": None,
        "eos_token_id": 256, "pad_token_id": 256,
    }  # fmt: skip
    return Qwen3MoeConfig(**(settings | changes))


def randomize(model, seed=0, scale=0.3):
    """Give a model random weights so far from zero that no two log-probabilities are equal."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(scale * noise if parameter.dim() > 1 else 1 + 0.1 * noise)
    return model.eval()


@pytest.fixture(scope="session")
def tokenizer():
    """A tokenizer of bytes; id 256 ends a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate([*letters, "<end>"])}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>")


@pytest.fixture(scope="session")
def encode(tokenizer):
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


@pytest.fixture(scope="session")
def model():
    from transformers import Qwen3MoeForCausalLM

    return randomize(Qwen3MoeForCausalLM(tiny_config()))


@pytest.fixture
def evaluation():
    return params.Evaluation(suite="test", batch_size=8)


@pytest.fixture
def use(monkeypatch):
    """A function that makes the harness use a given LM instead of the model."""

    def put(lm):
        monkeypatch.setattr(harness, "language_model", lambda *_: lm)
        return lm

    return put


@pytest.fixture(scope="session")
def number_items(tmp_path_factory):
    """A folder with the items of the number tasks, which are made without reading text."""
    folder = tmp_path_factory.mktemp("items")
    build_items(folder, 0, tasks=["demo_result", "demo_word_problem", "demo_arithmetic", "demo_solution"])
    return folder


@pytest.fixture
def choice_items(tmp_path):
    """A folder of items whose demo_prose has 12 random four-choice rows, and these rows."""
    generator = np.random.default_rng(5)

    def letters(count):
        return "".join(chr(97 + letter) for letter in generator.integers(26, size=count))

    rows = [
        {"context": letters(5 + row), "choices": [f" {letters(4 + c)}" for c in range(4)], "label": row % 4}
        for row in range(12)
    ]
    write_rows(tmp_path / "items" / "demo_prose.jsonl", rows)
    return tmp_path / "items", rows
