"""A tiny byte-level BPE tokenizer and texts to encode with it."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

WORDS = [
    "the", "expert", "router", "merges", "gates", "over", "every", "token", "and", "its", "layer", "keeps", "some",
    "few", "more", "of", "them", "all",
]  # fmt: skip


def prose(index: int, words: int) -> str:
    """Text number ``index`` of ``words`` words; deterministic, and different for each number."""
    return " ".join([f"text{index}"] + [WORDS[(index * 7 + i * i + i) % len(WORDS)] for i in range(words - 1)])


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    """A folder with a tokenizer.json that asks for truncation, which calibration must ignore."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((prose(index, 80) for index in range(50)), trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.enable_truncation(16)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def slow_folder(tokenizer_folder, tmp_path_factory):
    """The same tokenizer as GPT-2's files, without tokenizer.json."""
    folder = tmp_path_factory.mktemp("slow")
    model = json.loads((tokenizer_folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    settings = {"tokenizer_class": "GPT2Tokenizer", "unk_token": "<end>", "bos_token": "<end>", "eos_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
