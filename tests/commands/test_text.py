"""The command line on too little text, on models without a tokenizer, and on text that they cannot read."""

import shutil

import pytest

from ream.calibration.corpus import read_corpus, write_corpus
from ream.recipe.recipe_file import load_recipe
from tests import tiny
from tests.commands.test_cli import compress, model, one_line, params, ream  # noqa: F401 - fixtures
from tests.subsets import some_slow

# tiny's tokenizer has ids up to 256, its config.json a vocab_size of 300
LAST, BEYOND = tiny.VOCABULARY - 1, tiny.VOCABULARY


@pytest.fixture
def bare(model, tmp_path):  # noqa: F811
    """The model without the files of its tokenizer."""
    folder = shutil.copytree(model, tmp_path / "bare")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()
    return folder


def own(tmp_path, rows):
    """A file of own tokens, all of one source."""
    write_corpus(tmp_path / "own.parquet", [("a", ids) for ids in rows], {})
    return ["--calibration", tmp_path / "own.parquet"]


@pytest.mark.parametrize("method", some_slow(["reap", "ream"], keep=["ream"]))
def test_too_little_text_is_told_once_at_the_end(ream, model, params, tmp_path, method):  # noqa: F811
    """One sequence of one token: every layer selects two of its eight experts."""
    code, out, err = ream(*compress(model, "out", params, *own(tmp_path, [[7]]), "--method", method))
    assert code == 0
    line = (
        "100.0% of the experts saw fewer than 100 calibration tokens, 75.0% none (layers 0 (100%), 2 (100%), 3 (100%))"
    )
    assert err.strip().splitlines()[-1].startswith(f"warning: {line}, so their saliency is uncertain; use more")
    assert any(text.startswith(("saliency of mix", "sequential own")) for text in out.splitlines())
    assert (out + err).count("of the experts saw fewer") == 1
    recipe = load_recipe(tmp_path / "out" / "ream/recipe.ream")
    assert {index: layer.routed_tokens.sum() for index, layer in recipe.layers.items()} == {0: 2, 2: 2, 3: 2}
    assert all(((layer.routed_tokens > 0) == (layer.saliency > 0)).all() for layer in recipe.layers.values())


def test_enough_text_is_no_warning(ream, model, params, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("ream.compress.rarely_routed.FEW_TOKENS", 1)
    monkeypatch.setattr("ream.core.evidence.FEW_TOKENS", 1)
    code, out, err = ream(*compress(model, "out", params, "--method", "reap"))
    assert code == 0
    assert "calibration tokens" not in out + err


@pytest.mark.parametrize("method", some_slow(["reap", "ream"], keep=["ream"]))
def test_own_tokens_need_no_tokenizer(ream, bare, params, tmp_path, method):  # noqa: F811
    options = own(tmp_path, [list(range(30)), [LAST] * 20])
    assert ream(*compress(bare, "out", params, *options, "--method", method))[0] == 0
    assert not (tmp_path / "out" / "tokenizer.json").exists()
    assert ream("estimate", bare, "--experts", 4, "--params", params)[0] == 0
    wanted = f"own.parquet, row 2: token id {BEYOND} is outside the model's vocabulary of {BEYOND}"
    one_line(ream(*compress(bare, "other", params, *own(tmp_path, [[1], [BEYOND]]))), wanted)


def test_text_needs_a_tokenizer(ream, bare, params):  # noqa: F811
    words = "has no tokenizer", "text cannot be encoded", "put the model's tokenizer files there"
    one_line(ream(*compress(bare, "out", params)), *words)
    loss = ["--set", "suites.none.loss=[math]", "--set", "suites.none.loss_tokens=64"]
    one_line(ream("evaluate", bare, "--params", params, *loss), *words)
    tasks = [
        "--set",
        "suites.none.gen=[demo_arithmetic]",
        "--set",
        f"evaluation.include={tiny.ROOT / 'data' / 'tasks'}",
    ]
    one_line(ream("evaluate", bare, "--params", params, *tasks), *words)


def test_rows_longer_than_the_models_inputs_are_refused(ream, model, params, tmp_path):  # noqa: F811
    assert ream(*compress(model, "out", params, *own(tmp_path, [[1] * 256])))[0] == 0
    line = "own.parquet, row 1: 257 tokens are more than the model's 256 positions"
    one_line(ream(*compress(model, "more", params, *own(tmp_path, [[1] * 257]))), line)
    one_line(
        ream(*compress(model, "more", params, "--tokens", 257)), "calibration.tokens: 257 is more than the model's 256"
    )
    loss = ["--set", "suites.none.loss=[math]", "--set", "suites.none.loss_tokens=257"]
    one_line(
        ream("evaluate", model, "--params", params, *loss), "suites.none.loss_tokens: 257 is more than the model's 256"
    )


@pytest.mark.parametrize("method", some_slow(["reap", "ream"], keep=["ream"]))
def test_a_source_needs_its_share_alone(ream, model, params, tmp_path, method):  # noqa: F811
    """24 documents a source are too few for 40 sequences, but enough for a mix of halves."""
    arguments = compress(model, "out", params, "--method", method, "--sequences", 40, "--group-size", 8)
    assert ream(*arguments, "--mix", "a=0.5,b=0.5")[0] == 0
    recipe = load_recipe(tmp_path / "out" / "ream/recipe.ream")
    assert recipe.facts["sequences"] == 40
    one_line(
        ream(*compress(model, "more", params, "--method", method, "--sequences", 40), "--mix", "a=1"), "40 are needed"
    )


def test_imported_tokens_calibrate(ream, model, params, tmp_path):  # noqa: F811
    import torch

    ids = torch.randint(0, LAST, (6, 24), generator=torch.Generator().manual_seed(0))
    torch.save([ids[:4], ids[4:]], tmp_path / "tokens.pt")
    code, out, _ = ream("import-tokens", tmp_path / "tokens.pt", "tokens.parquet", "--source", "theirs")
    assert code == 0
    assert "6 sequences of 24 to 24 tokens, 144 in all" in out
    assert read_corpus(tmp_path / "tokens.parquet").sequences == ids.tolist()
    assert ream(*compress(model, "out", params, "--calibration", "tokens.parquet", "--method", "reap"))[0] == 0
    one_line(ream("import-tokens", tmp_path / "tokens.pt", "tokens.parquet"), "tokens.parquet exists")
    one_line(ream("import-tokens", tmp_path / "none.pt", "other.parquet"), "is not a file")
