import json
import shutil

import pytest
from transformers import AutoTokenizer

from ream.calibration import tokenizer as tokenizer_module
from ream.calibration.special_tokens import SpecialTokens, measured
from ream.calibration.tokenizer import load_encoder
from ream.errors import UserError

END = {"SpecialToken": {"id": "<end>", "type_id": 0}}
TEXT = {"Sequence": {"id": "A", "type_id": 0}}
PAIR = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
CLASS = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<end>", "eos_token": "<end>"}


def template(*parts):
    special = {"<end>": {"id": "<end>", "ids": [0], "tokens": ["<end>"]}}
    return {"type": "TemplateProcessing", "single": list(parts), "pair": PAIR, "special_tokens": special}


@pytest.fixture
def folder(tokenizer_folder, tmp_path):
    """A function that writes a tokenizer with a post-processor and settings, and returns its folder."""

    def write(post_processor, settings):
        content = json.loads((tokenizer_folder / "tokenizer.json").read_text())
        content["post_processor"] = post_processor
        (tmp_path / "tokenizer.json").write_text(json.dumps(content))
        if settings is not None:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("post_processor", "settings", "before", "after"),
    [
        (None, CLASS, (), ()),
        (BYTE_LEVEL, CLASS, (), ()),  # Qwen
        (template(TEXT), CLASS | {"add_bos_token": True}, (), ()),  # transformers 5 heeds the post-processor alone
        (template(END, TEXT), CLASS | {"add_bos_token": False}, (0,), ()),
        (template(END, TEXT), CLASS, (0,), ()),  # Llama-4, Mixtral
        (template(TEXT, END), CLASS, (), (0,)),
        (template(END, TEXT, END), CLASS, (0,), (0,)),
        (template(END, END, TEXT), CLASS, (0, 0), ()),  # two tokens, as [gMASK] <sop> of GLM
        (template(END, TEXT), CLASS | {"tokenizer_class": "LlamaTokenizerFast"}, (0,), ()),
    ],
)
def test_what_is_added_is_what_transformers_adds(folder, post_processor, settings, before, after, monkeypatch):
    path = folder(post_processor, settings)
    monkeypatch.setattr(tokenizer_module, "_heavy", None)  # found without transformers
    encoder, reference = load_encoder(str(path), None, False), AutoTokenizer.from_pretrained(path)
    assert encoder.special == SpecialTokens(before, after)
    plain = reference.encode("the router", add_special_tokens=False)
    assert reference.encode("the router") == [*before, *plain, *after]
    assert encoder.encode("the router") == [*before, *encoder.plain("the router"), *after]
    bare = load_encoder(str(path), None, False, special_tokens="none")
    assert bare.encode("the router") == encoder.plain("the router")
    assert bare.fingerprint == encoder.fingerprint


def test_without_settings_the_post_processor_decides(folder):
    encoder = load_encoder(str(folder(template(END, TEXT), None)), None, False)
    assert encoder.encode("the router") == [0, *encoder.plain("the router")]


def test_special_tokens_of_a_tokenizer_without_tokenizer_json(slow_folder, tmp_path):
    path = shutil.copytree(slow_folder, tmp_path / "slow")
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": True}))
    encoder = load_encoder(str(path), None, False)
    assert encoder.special == SpecialTokens((0,), ())
    assert encoder.encode("the router") == AutoTokenizer.from_pretrained(path).encode("the router")


def test_a_text_that_begins_so_already_gets_nothing():
    special = SpecialTokens((7, 8), (9,))
    assert special.around([1, 2]) == [7, 8, 1, 2, 9]
    assert special.around([7, 8, 1]) == [7, 8, 1]
    assert special.around([7, 1]) == [7, 8, 7, 1, 9]
    assert special.around([]) == [7, 8, 9]
    assert SpecialTokens((), (9,)).around([1]) == [1, 9]


def test_a_tokenizer_that_changes_the_text_is_refused():
    with pytest.raises(UserError, match=r"as \[1, 2\] without special tokens and as \[1, 5, 2\].*special_tokens: none"):
        measured(lambda special: [1, 5, 2] if special else [1, 2])
