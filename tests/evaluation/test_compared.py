"""`ream compare` of models that ream has written or not, against the models that transformers loads whole."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
import transformers

from ream.calibration.chat import ChatTemplate
from ream.calibration.document import Document
from ream.calibration.special_tokens import SpecialTokens
from ream.calibration.tokenizer import load_encoder
from ream.commands import cli
from ream.evaluation.own_text import text_sequences, windows
from ream.params import FilesSource
from ream.recipe.output import write_checkpoint
from tests import tiny
from tests.compress.walks import opened, random_recipe
from tests.evaluation.test_fidelity import by_loops
from tests.models import any_moe
from tests.tiny import VOCABULARY

TEXT = "Layers are walked one after the other, and every one of them is read once. " * 6
TOKENS = 40


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    return tiny.write_params(tmp_path_factory.mktemp("params"), tokens=TOKENS, sequences=4)


@pytest.fixture(scope="module")
def compressed(checkpoint, tmp_path_factory):
    """The tiny model with fewer experts, as ream writes it."""
    read, architecture = opened(checkpoint)
    out = tmp_path_factory.mktemp("compressed") / "out"
    write_checkpoint(read, architecture, random_recipe(architecture, 4, digest=read.digest()), out)
    return out


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """A model without experts, with the tiny model's vocabulary and tokenizer."""
    folder = tmp_path_factory.mktemp("dense") / "dense"
    config = transformers.Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=128,
    )  # fmt: skip
    torch.manual_seed(3)
    model = transformers.Qwen3ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8)
    model.save_pretrained(folder)
    tiny.write_tokenizer(folder)
    return folder


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def ream(monkeypatch, capsys, tmp_path, params):
    """Runs `ream compare` on the CPU in this process: (exit code, stdout, stderr, the JSON file)."""

    def run(*arguments):
        out = tmp_path / "out.json"
        given = ["compare", *arguments, "--params", params, "--out", out, "--set", "compute.threads=1"]
        monkeypatch.setattr(sys, "argv", ["ream", *map(str, given)])
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr(), json.loads(out.read_text()) if out.exists() else None

    return run


@torch.no_grad()
def expected(original, other, sequences):
    """The five sums over sequences, from the whole models' logits."""
    models = [
        transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32) for path in (original, other)
    ]
    sums = [0.0] * 5
    for ids in sequences:
        logits = [model(torch.tensor([ids])).logits[0, :-1].tolist() for model in models]
        sums = [one + more for one, more in zip(sums, by_loops(*logits, ids[1:]), strict=True)]
    return sums


def check(found, sums):
    kl, same, loss, original_loss, tokens = sums
    assert found["kl"]["value"] == pytest.approx(kl / tokens, rel=1e-3)
    assert found["top_1"]["value"] == pytest.approx(100 * same / tokens)
    assert (found["loss"], found["original_loss"]) == pytest.approx((loss / tokens, original_loss / tokens), rel=1e-4)
    assert found["tokens"] == tokens


def test_a_compressed_model_on_own_text(ream, checkpoint, compressed, text):
    code, out, err, found = ream(checkpoint, compressed, "--text", text, "--sequences", 5)
    assert code == 0, err
    sequences = sequences_of(text, checkpoint, TOKENS, 5)
    assert [len(ids) for ids in sequences] == [TOKENS] * 5
    measures = found["sources"]["own"]
    check(measures, expected(checkpoint, compressed, sequences))
    assert measures["kl"]["low"] < measures["kl"]["value"] < measures["kl"]["high"]
    row = next(line for line in out.splitlines() if line.startswith("own "))
    assert f"{measures['kl']['value']:.4f} [" in row
    assert found["versions"]["torch"] == torch.__version__


def test_the_numbers_go_into_the_models_card(ream, checkpoint, compressed, text, tmp_path):
    copy = shutil.copytree(compressed, tmp_path / "copy")
    before = (copy / "README.md").read_text()
    code, out, err, found = ream(checkpoint, copy, "--text", text, "--sequences", 2, "--card")
    assert code == 0, err
    assert out.splitlines()[-1] == f"card: {copy / 'README.md'}"
    after = (copy / "README.md").read_text()
    assert after.startswith(before.rstrip())
    measures = found["sources"]["own"]
    assert f"| own | {measures['kl']['value']:.4f} [{measures['kl']['low']:.4f}, " in after
    code, _, err, _ = ream(checkpoint, "owner/name", "--card")
    assert (code, "--card writes into the README.md of a folder" in err) == (2, True)


def test_without_a_text_it_is_what_the_calibration_of_the_params_left(ream, checkpoint, compressed):
    code, out, err, found = ream(checkpoint, compressed, "--sequences", 3)
    assert code == 0, err
    assert list(found["sources"]) == ["a", "b"]
    assert [measures["sequences"] for measures in found["sources"].values()] == [3, 3]
    mean = sum(measures["kl"]["value"] for measures in found["sources"].values()) / 2
    assert found["mean"]["kl"]["value"] == pytest.approx(mean)
    assert out.splitlines()[3].startswith("mean")


def test_little_memory_changes_nothing(ream, checkpoint, compressed, text, tmp_path):
    _, _, _, before = ream(checkpoint, compressed, "--text", text)
    _, _, _, after = ream(checkpoint, compressed, "--text", text, "--set", "compute.hidden_memory_gb=0")
    assert after["sources"] == before["sources"]
    assert not list((tmp_path / "cache").rglob("*.map"))


def test_a_model_is_its_own_equal(ream, checkpoint, text):
    _, _, _, found = ream(checkpoint, checkpoint, "--text", text)
    measures = found["sources"]["own"]
    assert (measures["kl"]["value"], measures["top_1"]["value"], measures["perplexity_ratio"]["value"]) == (0, 100, 1)


def test_a_dense_model_is_loaded_whole_and_a_line_says_so(ream, checkpoint, dense, text):
    code, out, err, found = ream(checkpoint, dense, "--text", text, "--sequences", 4)
    assert code == 0, err
    assert f"{dense} is loaded whole, for it cannot be walked layer by layer" in out
    assert "not a Mixture-of-Experts model" in out
    sequences = sequences_of(text, checkpoint, TOKENS, 4)
    check(found["sources"]["own"], expected(checkpoint, dense, sequences))
    code, _, err, found = ream(dense, checkpoint, "--text", text, "--sequences", 4)
    assert code == 0, err
    check(found["sources"]["own"], expected(dense, checkpoint, sequences))


def test_another_architecture_with_experts(ream, checkpoint, text, tmp_path):
    other = any_moe.build("granitemoe", tmp_path / "granite")
    code, out, err, found = ream(checkpoint, other, "--text", text, "--tokens", 20)
    assert code == 0, err
    assert "loaded whole" not in out
    sequences = sequences_of(text, checkpoint, 20, 8)
    check(found["sources"]["own"], expected(checkpoint, other, sequences))


def sequences_of(text, model, tokens, count):
    """What `ream compare` measures on: a single short text is all held out."""
    source = FilesSource(kind="files", paths=[str(text)], windows="all", held_out=0.1)
    encoder = load_encoder(str(model), None, False)
    return text_sequences("own", source, encoder, ChatTemplate(model, False), tokens, count)


def one_line(answer, *words):
    code, _, err, _ = answer
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2
    assert len(lines) == 1
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


def test_models_of_other_vocabularies_are_refused(ream, checkpoint, text, tmp_path):
    fewer = any_moe.build("olmoe" if "olmoe" in any_moe.TYPES else "granitemoe", tmp_path / "fewer", vocab_size=280)
    one_line(ream(checkpoint, fewer, "--text", text), "has 300 token ids", "has 280", "one vocabulary")


def test_another_tokenizer_is_refused(ream, checkpoint, compressed, text, tmp_path):
    other = tiny.damaged(compressed, tmp_path / "other")
    content = json.loads((other / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    (other / "tokenizer.json").write_text(json.dumps(content))
    one_line(ream(checkpoint, other, "--text", text), "different tokenizers", "one vocabulary")
    content["model"]["vocab"] = json.loads((checkpoint / "tokenizer.json").read_text())["model"]["vocab"]
    (other / "tokenizer.json").write_text(json.dumps(content, indent=3))  # other bytes, the same tokenizer
    assert ream(checkpoint, other, "--text", text)[0] == 0
    for path in other.glob("tokenizer*"):
        path.unlink()
    assert ream(checkpoint, other, "--text", text)[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--text", "nowhere.txt"], ["nowhere.txt does not exist"]),
        (["--tokens", "1000"], ["calibration.tokens: 1000", "256 positions"]),
        (["--sequences", "0"], ["--sequences"]),
        (["--set", "rank.sequences=0"], ["rank.sequences is 0", "--sequences"]),
        (["--set", "model.path=x"], ["model.path cannot be set here", "ORIGINAL"]),
        (["--device", "tpu"], ["compute.device"]),
    ],
)
def test_bad_options(ream, checkpoint, compressed, options, words):
    one_line(ream(checkpoint, compressed, *options), *words)


def test_a_model_without_weights_is_refused(ream, checkpoint, text, tmp_path, dense):
    broken = tiny.damaged(dense, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    one_line(ream(checkpoint, broken, "--text", text), "broken")
    empty = tmp_path / "empty"
    empty.mkdir()
    one_line(ream(checkpoint, empty, "--text", text), "empty")


def test_windows_cover_every_document_and_begin_as_the_tokenizer_begins_a_text(checkpoint, tmp_path):
    encoder = load_encoder(str(checkpoint), None, False)
    found = list(windows([Document("a", "x" * 25), Document("b", "y"), Document("c", "zzz")], encoder, 10))
    assert [len(ids) for ids in found] == [10, 10, 5, 3]
    assert [token for ids in found[:3] for token in ids] == encoder.plain("x" * 25)
    with_bos = replace(encoder, special=SpecialTokens((7,), ()))
    assert [ids[0] for ids in windows([Document("a", "x" * 25)], with_bos, 10)] == [7, 7, 7]
    assert [len(ids) for ids in windows([Document("a", "x" * 25)], with_bos, 10)] == [10, 10, 8]


def test_a_folder_is_all_the_files_in_it_that_hold_text(checkpoint, tmp_path):
    folder = tmp_path / "texts"
    (folder / "below").mkdir(parents=True)
    (folder / "one.txt").write_text("a" * 12)
    (folder / "below" / "two.jsonl").write_text(json.dumps({"text": "b" * 8}) + "\n")
    (folder / "picture.png").write_bytes(b"\x00")
    source = FilesSource(kind="files", paths=[str(folder)], held_out=1)
    given = ("texts", source, load_encoder(str(checkpoint), None, False), ChatTemplate(checkpoint, False), 10)
    assert sorted(map(len, text_sequences(*given, 99))) == [2, 8, 10]
    assert len(text_sequences(*given, 2)) == 2
