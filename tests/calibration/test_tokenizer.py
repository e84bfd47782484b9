import hashlib
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
from tokenizers import Tokenizer

from ream.calibration.special_tokens import SpecialTokens
from ream.calibration.tokenizer import load_encoder
from ream.errors import UserError
from tests.calibration.conftest import prose


def test_tokenizer_json(tokenizer_folder):
    encoder = load_encoder(str(tokenizer_folder), None, False)
    text = prose(3, 200)
    reference = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))
    reference.no_truncation()
    ids = encoder.encode(text)
    assert encoder.special == SpecialTokens()
    assert ids == reference.encode(text, add_special_tokens=False).ids
    assert len(ids) > 200  # the file's truncation to 16 tokens is not heeded
    assert reference.decode(ids) == text
    assert encoder.fingerprint == hashlib.sha256((tokenizer_folder / "tokenizer.json").read_bytes()).hexdigest()


def test_model_of_the_hub_is_read_like_a_folder(tokenizer_folder, monkeypatch):
    asked = []

    def download(name, filename, revision):
        asked.append((name, filename, revision))
        return str(tokenizer_folder / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    encoder, local = load_encoder("owner/name", "abc", False), load_encoder(str(tokenizer_folder), None, False)
    assert asked == [("owner/name", "tokenizer.json", "abc")]
    assert encoder.fingerprint == local.fingerprint
    assert encoder.encode(prose(0, 9)) == local.encode(prose(0, 9))


def test_other_tokenizers_through_transformers(tokenizer_folder, slow_folder, tmp_path):
    light, heavy = (load_encoder(str(folder), None, False) for folder in (tokenizer_folder, slow_folder))
    assert heavy.encode(prose(3, 500)) == light.encode(prose(3, 500))
    assert heavy.special == SpecialTokens()
    copy = tmp_path / "copy"
    shutil.copytree(slow_folder, copy)
    assert load_encoder(str(copy), None, False).fingerprint == heavy.fingerprint
    (copy / "merges.txt").write_text("#version: 0.2\n")
    assert load_encoder(str(copy), None, False).fingerprint != heavy.fingerprint


@pytest.mark.parametrize("names", [[], ["tokenizer_config.json"]])
def test_no_tokenizer(tmp_path, names):
    """transformers would make an empty tokenizer, by the model's type."""
    (tmp_path / "config.json").write_text('{"model_type": "qwen3_moe"}')
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(
        UserError, match=r"has no tokenizer \(tokenizer\.json, .*text cannot be encoded; put the model's"
    ):
        load_encoder(str(tmp_path), None, False)


def test_a_tokenizer_that_cannot_be_loaded(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(UserError, match=r"has no tokenizer that can be loaded: .*; put its tokenizer\.json there"):
        load_encoder(str(tmp_path), None, False)


def test_no_model():
    with pytest.raises(UserError, match=r"^model 'no-one/nothing' has no tokenizer that can be loaded"):  # offline
        load_encoder("no-one/nothing", None, False)
    with pytest.raises(UserError, match=r"^model 'a/b/c' is not a folder, and the hub gives no tokenizer for it"):
        load_encoder("a/b/c", None, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is not valid JSON"),
        (b'{"a": "\xff"}', "is not valid JSON"),
        (b'{"added_tokens": []}', "is not a tokenizer: it has no 'model'"),
    ],
)
def test_broken_tokenizer_json(tmp_path, content, message):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"tokenizer\.json {message}.*.*fetch .*again"):
        load_encoder(str(tmp_path), None, False)


def test_a_light_stage_imports_light_things(tokenizer_folder, tmp_path):
    """The stage's module, loading tokenizer.json, writing and reading sequences; test_starting.py has other stages."""
    code = (
        "import sys\nfrom pathlib import Path\nimport ream.stages.calibration as stage\n"
        f"encoder = stage.load_encoder({str(tokenizer_folder)!r}, None, False)\n"
        f"path = Path({str(tmp_path)!r}, 'c.parquet')\nstage.write_corpus(path, [('a', encoder.encode('one'))], {{}})\n"
        "assert stage.read_corpus(path).source == ['a']\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'scipy', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
