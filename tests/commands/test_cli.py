"""The command line: a user's error is one line and exit code 2; compress, apply, own tokens, kill -9 and going on."""

import json
import math
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from typer.testing import CliRunner

from ream.calibration.corpus import read_corpus
from ream.calibration.mixing import mix_sequences
from ream.commands import cli
from ream.commands.options import REPLACED
from ream.models.storage.shard_source import LocalShards
from ream.recipe.contents import RECIPE
from ream.recipe.recipe_file import load_recipe, pack_layer
from tests import tiny
from tests.models.storage.test_checkpoint import FIRST, rewrite, shard_of
from tests.subsets import some_slow

ROOT = Path(cli.__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("cli") / "tiny", dense=[1], layers=4)


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    return tiny.write_params(tmp_path_factory.mktemp("cli-params"))


@pytest.fixture
def ream(monkeypatch, capsys, tmp_path):
    """Runs `ream ...` in this process, in an empty folder: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ream", *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


def compress(model, out, params, *more, experts=4):
    return ["compress", model, out, "--experts", experts, "--params", params, *more]


def one_line(answer, *words):
    code, _, err = answer
    assert code == 2
    assert "Traceback" not in err
    errors = [line for line in re.split(r"[\r\n]+", err) if line.startswith("error: ")]
    assert len(errors) == 1
    assert err.endswith(errors[0] + "\n")
    for word in words:
        assert word in errors[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "raem"], ["method 'raem' is unknown", "did you mean 'ream'"]),
        (["--mix", "balanecd"], ["mix 'balanecd' is unknown", "balanced"]),
        (["--mix", "a=1,x=2"], ["source 'x' is unknown", "a, b"]),
        (["--mix", "a=0,b=0"], ["all ratios are zero"]),
        (["--mix", "a=1,b=-0.5"], ["ratio of b is -0.5", "not negative"]),
        (["--mix", "a=nan"], ["ratio of a is nan"]),
        (["--mix", "a=much"], ["--mix: 'a=much' is not SOURCE=NUMBER"]),
        (["--mix", "a=1,b"], ["--mix: 'b' is not SOURCE=NUMBER"]),
        (["--mix", "a=1,a=2"], ["--mix", "a", "twice"]),
        (["--experts", "1"], ["1 is fewer than the 2", "keep at least 2"]),
        (["--experts", "9"], ["9 is more than the model's 8"]),
        (["--experts", "3", "--group-size", "1"], ["group size 1", "use at least 2"]),
        (["--tokens", "3"], ["calibration.tokens"]),
        (["--device", "tpu"], ["compute.device"]),
        (["--calibration", "none.parquet"], ["none.parquet"]),
        (["--params", "none.yaml"], ["none.yaml does not exist"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_bad_options(ream, model, params, options, words):
    one_line(ream(*compress(model, "out", params, *options)), *words)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("copmute.threads=1", ["key 'copmute' is unknown", "did you mean 'compute'", "statistics"]),
        ("compute.thread=1", ["key 'compute.thread' is unknown", "did you mean 'compute.threads'", "compute.dtype"]),
        ("compute.threads=0", ["compute.threads", "greater than or equal to 1", "given: 0"]),
        ("compute.dtype=fp16", ["compute.dtype", "'auto', 'float32' or 'bfloat16'", "given: 'fp16'"]),
        ("methods.raem.saliency=reap", ["key 'methods.raem' is unknown", "did you mean 'methods.ream'"]),
        ("methods.ream.saliency=reep", ["methods.ream.saliency", "'reap'"]),
        ("threads=1", ["'threads=1' is not SECTION.KEY=VALUE", "did you mean compute.threads=1"]),
        ("compute.threads", ["'compute.threads' is not SECTION.KEY=VALUE", "did you mean compute.threads=VALUE"]),
        ("compute.threads=[", ["the value of 'compute.threads=[' is not valid YAML"]),
        ("compute.device.x=1", ["compute.device is a value", "compute.device.x does not exist"]),
        ("model.path=x", ["model.path cannot be set here", "MODEL"]),
    ],
)
@pytest.mark.parametrize("command", ["compress", "estimate", "evaluate"])
def test_a_wrong_setting_is_one_line(ream, model, params, command, setting, words):
    wanted = {"compress": ["out", "--experts", 4], "estimate": ["--experts", 4], "evaluate": []}[command]
    one_line(ream(command, model, *wanted, "--params", params, "--set", setting), "--set", *words)
    assert not Path("out").exists()


def test_what_options_decide_is_not_a_setting(ream, model, params):
    line = "--set: run.experts cannot be set here; --method, --experts and --mix set it"
    one_line(ream(*compress(model, "out", params, "--set", "run.experts=[3]")), line)
    one_line(ream(*compress(model, "out", params, "--set", "rank.sequences=3")), "rank.sequences cannot be set here")


def test_a_setting_is_given_once(ream, model, params):
    twice = ["--set", "compute.threads=1", "--set", "compute.threads=2"]
    one_line(ream(*compress(model, "out", params, *twice)), "compute.threads is given by --set twice")
    both = ["--tokens", 24, "--set", "calibration.tokens=24"]
    one_line(ream(*compress(model, "out", params, *both)), "calibration.tokens is given by --tokens and --set")
    both = ["--group-size", 8, "--set", "grouping.group_size=8"]
    one_line(ream("estimate", model, "--experts", 4, "--params", params, *both), "--group-size and --set")


def test_settings_change_what_the_params_file_says(ream, model, params, tmp_path):
    settings = [
        "--set",
        "mixes.balanced.b=0",
        "--set",
        "methods.ream.saliency=frequency",
        "--set",
        "calibration.seed=3",
    ]
    assert ream(*compress(model, "out", params, *settings))[0] == 0
    facts = load_recipe(tmp_path / "out" / RECIPE).facts
    assert (facts["ratios"], facts["seed"]) == ({"a": 1.0, "b": 0.0}, 3)
    assert facts["composition"]["saliency"] == "frequency"


@pytest.mark.parametrize("option", REPLACED)
def test_a_former_option_names_the_setting_that_replaced_it(ream, option):
    for words in (["compress", "m", "out", "--experts", "4"], ["estimate", "m"]):
        line = f"{option} is not an option of ream {words[0]}; use --set {REPLACED[option]}=VALUE"
        one_line(ream(*words, option, "1"), line)
        one_line(ream(*words, f"{option}=1"), line)


def test_former_options_of_other_commands_are_merely_unknown(ream):
    one_line(ream("evaluate", "m", "--threads", "2"), "use --set compute.threads=VALUE")
    one_line(ream("verify", "m", "--threads", "2"), "No such option: --threads", "--help")


def dense(folder):
    tiny.rewrite_config(
        folder, lambda config: {k: v for k, v in config.items() if "expert" not in k} | {"model_type": "qwen3"}
    )


def without_tensors(folder):
    for path in folder.glob("model*"):
        path.write_bytes(path.read_bytes().replace(FIRST.encode(), FIRST.replace("up", "xx").encode()))


def truncated(folder):
    path = shard_of(folder, FIRST)
    path.write_bytes(path.read_bytes()[:-1])


def with_nan(folder):
    rewrite(folder, FIRST, lambda tensor: tensor.fill_(float("nan")))


def with_inf_at_the_end(folder):
    rewrite(folder, "lm_head.weight", lambda tensor: tensor.index_fill(0, torch.tensor([len(tensor) - 1]), math.inf))


def renamed(*names):
    """A change of the first letter of names of tensors, in the headers and in the index."""

    def change(folder):
        for path in folder.glob("model*"):
            content = path.read_bytes()
            for name in names:
                content = content.replace(f'"{name}"'.encode(), f'"x{name[1:]}"'.encode())
            path.write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (renamed("lm_head.weight"), ["missing lm_head.weight (the head)", "tie_word_embeddings"]),
        (renamed("model.norm.weight"), ["missing model.norm.weight (the final norm)"]),
        (
            renamed(*(f"model.layers.{layer}.self_attn.q_norm.weight" for layer in range(4))),
            ["missing model.layers.0.self_attn.q_norm.weight (layer 0)", "and 1 more"],
        ),
        (dense, ["'qwen3'", "not a Mixture-of-Experts"]),
        (without_tensors, [FIRST, "missing"]),
        (truncated, ["truncated or corrupt"]),
        (with_nan, [FIRST, "NaN or Inf"]),
        (with_inf_at_the_end, ["lm_head.weight", "NaN or Inf"]),
    ],
)
def test_bad_models(ream, model, params, tmp_path, damage, words):
    folder = tiny.damaged(model, tmp_path / "bad")
    damage(folder)
    one_line(ream(*compress(folder, "out", params)), *words)
    assert not Path("out").exists()
    assert not Path(".out.ream").exists(), "no work has begun"


@pytest.mark.parametrize("command", ["inspect", "estimate", "evaluate", "stage model"])
def test_every_command_refuses_a_model_without_its_head(ream, model, tmp_path, command):
    folder = tiny.damaged(model, tmp_path / "bad")
    renamed("lm_head.weight")(folder)
    params = tiny.write_params(tmp_path / "params", model=folder)
    arguments = {
        "inspect": ["inspect", folder],
        "estimate": ["estimate", folder, "--experts", "4", "--params", params],
        "evaluate": ["evaluate", folder, "--params", params],
        "stage model": ["stage", "model", "--params", params],
    }[command]
    one_line(ream(*arguments), str(folder), "missing lm_head.weight (the head)", "fetch it again")


def test_bad_output_model_stage_and_recipe(ream, model, params, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    one_line(ream(*compress(model, "full", params)), "full", "not empty")
    assert tiny.files(tmp_path / "full") == {"x": b"mine"}
    one_line(ream(*compress("nowhere", "out", params)), "nowhere", "neither a folder")
    one_line(ream("stage", "groping", "--params", params), "stage 'groping' is unknown", "grouping")
    one_line(ream("stage", "saliency", "--params", params), "--mix")
    one_line(ream("apply", model, "none.safetensors", "out"), "none.safetensors", "does not exist")
    one_line(ream("inspect", tmp_path / "full"), "config.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compres", "a", "b"], ["'compres'", "Did you mean 'compress'"]),
        (["compress", "a", "b", "--expert", "4"], ["--expert", "--experts"]),
        (["compress", "a", "b"], ["--experts"]),
        (["compress"], ["model"]),
        (["estimate", "a", "--experts", "many"], ["--experts", "integer"]),
        (["estimate", "a", "--experts", "0"], ["--experts", "greater than or equal to 1"]),
    ],
)
def test_mistyped_arguments(ream, arguments, words):
    answer = ream(*arguments)
    one_line(answer, *words, "--help")
    assert answer[2].count("\n") == 1


def test_the_error_of_an_option_out_of_range_mentions_the_options(ream, model, params):
    one_line(ream(*compress(model, "out", params, "--tokens", "0")), f"{params} with the options", "calibration.tokens")


def test_help_is_not_an_error(ream):
    for arguments in (["--help"], ["compress", "--help"]):
        code, out, err = ream(*arguments)
        assert (code, err) == (0, "")
        assert "Usage" in out


def test_compress_then_apply(ream, model, params, tmp_path):
    code, out, _ = ream(*compress(model, "out", params, "--mix", "leaning"))
    assert code == 0
    assert "4 of 8 experts" in out
    assert "estimate: 8 -> 4 experts in 3 layers" in out
    recipe = load_recipe(tmp_path / "out" / RECIPE)
    assert (recipe.facts["method"], recipe.facts["mix"], recipe.facts["experts"]) == ("ream", "leaning", 4)
    assert recipe.facts["ratios"] == {"a": 0.75, "b": 0.25}
    assert sorted(recipe.layers) == [0, 2, 3]
    assert ream("apply", model, "out/ream/recipe.ream", "again")[0] == 0
    assert tiny.files(tmp_path / "again") == tiny.files(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "out"]
    code, out, _ = ream("verify", "out")
    assert code == 0
    assert "4 in each of 3 layers" in out
    shard = min((tmp_path / "again").glob("model-*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    one_line(ream("verify", "again"), shard.name, "has changed since it was written", "ream apply")
    other = tiny.build(tmp_path / "other", seed=1, dense=[1], layers=4)
    one_line(ream("apply", other, "out/ream/recipe.ream", "no"), "another model")


def test_shard_size(ream, model, params, tmp_path):
    from ream.models.storage.checkpoint import Checkpoint

    assert ream(*compress(model, "out", params, "--method", "reap", "--set", "merge.shard_gb=1e-5"))[0] == 0
    assert ream("apply", model, "out/ream/recipe.ream", "again", "--shard-size", "1e-5")[0] == 0
    assert tiny.files(tmp_path / "again") == tiny.files(tmp_path / "out")
    shards = Checkpoint(tmp_path / "out").shards
    assert min(shards) == f"model-00001-of-{len(shards):05d}.safetensors"
    assert ream("apply", model, "out/ream/recipe.ream", "usual")[0] == 0
    assert Checkpoint(tmp_path / "usual").shards != shards
    one_line(ream("apply", model, "out/ream/recipe.ream", "no", "--shard-size", "0"), "--shard-size", "above 0")
    one_line(ream(*compress(model, "no", params, "--set", "merge.shard_gb=0")), "merge.shard_gb", "greater than 0")


@pytest.mark.parametrize("method", some_slow(["reap", "m-smoe", "hc-smoe", "ream"], keep=["m-smoe", "ream"]))
def test_all_experts_kept_gives_the_original_byte_for_byte(ream, model, params, tmp_path, method):
    assert ream(*compress(model, "out", params, "--method", method, experts=8))[0] == 0
    before, after = tiny.files(model), tiny.files(tmp_path / "out")
    assert {name: after[name] for name in before} == before


@pytest.fixture
def own(tmp_path):
    """Own tokens of two sources, of different lengths."""
    rows = [("p" if row % 3 else "q", [(7 * row + i * i) % 250 for i in range(6 + row)]) for row in range(12)]
    sources, ids = zip(*rows, strict=True)
    pq.write_table(pa.table({"source": sources, "input_ids": ids}), tmp_path / "own.parquet")
    return rows


def test_own_tokens_are_pooled(ream, model, params, own, monkeypatch):
    import ream.calibration.mixing as mixing

    assert ream(*compress(model, "out", params, "--calibration", "own.parquet", "--sequences", 3))[0] == 0
    facts = load_recipe("out/ream/recipe.ream").facts
    assert (facts["mix"], facts["ratios"], facts["sequences"]) == ("own", {"own": 1.0}, len(own))
    assert mixing.mix_sequences({"own": [ids for _, ids in own]}, {"own": 1.0}, 12) == [("own", ids) for _, ids in own]
    code, out, _ = ream(*compress(model, "one-shot", params, "--calibration", "own.parquet", "--method", "reap"))
    assert code == 0
    assert f"{sum(len(ids) for _, ids in own):,} tokens" in out


def test_own_tokens_are_weighed_by_a_mix(ream, model, params, own):
    options = ["--calibration", "own.parquet", "--mix", "p=3,q=1", "--sequences", 4]
    code, out, _ = ream(*compress(model, "out", params, *options))
    assert code == 0
    by_source = {name: [ids for source, ids in own if source == name] for name in ("p", "q")}
    drawn = by_source["p"][:3] + by_source["q"][:1]
    assert [ids for _, ids in mix_sequences(by_source, {"p": 3, "q": 1}, 4)] == drawn
    assert f"4 of 8 experts, {sum(map(len, drawn))} tokens" in out
    facts = load_recipe("out/ream/recipe.ream").facts
    assert (facts["ratios"], facts["sequences"]) == ({"p": 0.75, "q": 0.25}, 4)
    one_line(ream(*compress(model, "no", params, *options[:2], "--mix", "p=1,z=1")), "'z'", "p, q")


STALLED = """
import sys, time
from ream.commands import cli
from ream.models.layers.loaded import LoadedLayer
from ream.commands.options import REPLACED
from ream.models.decoder import LoadedLayer
calls, run = [], LoadedLayer.__call__
def stalled(self, *given):
    calls.append(self.index)
    if calls.count(2) == 2:
        time.sleep(600)
    return run(self, *given)
LoadedLayer.__call__ = stalled
cli.main()
"""


def killed(arguments, progress, folder):
    """Start `ream` in another process that stalls within layer 2, and kill -9 it there."""
    command = [sys.executable, "-c", STALLED, *map(str, arguments)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not progress.exists() or json.loads(progress.read_text())["next_layer"] < 2:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "walk"),
    [
        pytest.param("ream", "sequential-balanced-ream-4", id="ream"),
        pytest.param("hc-smoe", "statistics-a", id="hc-smoe"),
    ],
)
def test_a_killed_run_goes_on(ream, model, tmp_path, monkeypatch, method, walk):
    from ream.models.decoder import Decoder

    params = tiny.write_params(tmp_path / "p", sequences=6, batch_tokens=48)
    arguments = compress(model, "out", params, "--method", method)
    killed(arguments, tmp_path / ".out.ream" / ".state" / walk / "progress.json", tmp_path)
    assert not (tmp_path / "out").exists()
    one_line(ream(*arguments, "--set", "statistics.probes=7"), "other settings")

    begun, layer = [], Decoder.layer
    monkeypatch.setattr(Decoder, "layer", lambda self, index: begun.append(index) or layer(self, index))
    assert ream(*arguments)[0] == 0
    assert begun == ([2, 3] if method == "ream" else [2, 3, 0, 1, 2, 3])  # hc-smoe: then source b
    assert ream(*compress(model, "whole", params, "--method", method))[0] == 0
    assert tiny.files(tmp_path / "out") == tiny.files(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "p", "whole"]


def test_two_runs_at_once(ream, model, params, tmp_path):
    from ream.walk.state import WalkState

    with WalkState(tmp_path / ".out.ream" / ".state" / "sequential-balanced-ream-4", "x", discard_stale=False):
        one_line(ream(*compress(model, "out", params)), "in use by another run")


def test_inspect(ream, model):
    code, out, _ = ream("inspect", model)
    assert code == 0
    assert "4, 3 of them with routed experts" in out
    assert "8 per layer, 2 active" in out
    assert "one tensor for each expert and projection (gate_proj, up_proj, down_proj); F32" in out
    parameters = sum(parameter.numel() for parameter in loaded(model).parameters())
    routed = 3 * 8 * 3 * tiny.WIDTH * tiny.HIDDEN
    assert re.search(rf"^parameters +{parameters:,}$", out, re.MULTILINE)
    assert f"{routed:,} ({routed / parameters:.0%})" in out


def test_inspect_reads_the_header_of_each_shard_once(ream, model, monkeypatch):
    read, headers = [], LocalShards.headers
    monkeypatch.setattr(LocalShards, "headers", lambda self, shards: read.extend(shards) or headers(self, shards))
    assert ream("inspect", model)[0] == 0
    assert sorted(read) == sorted(path.name for path in model.glob("*.safetensors"))


def test_shards_of_a_folder_are_not_dropped(ream, model, params):
    for command in (compress(model, "out", params), ["apply", model, "recipe.safetensors", "out"]):
        one_line(ream(*command, "--drop-shards"), "--drop-shards", str(model), "is a folder", "leave it out")
    assert not Path("out").exists()


def test_without_arguments_the_help_is_shown(ream):
    code, out, err = ream()
    assert code == 2
    assert not err
    for line in ("Usage: ", "Commands:", "inspect        Describe a model, and what would be compressed.\n"):
        assert line in out


def test_version(ream):
    assert ream("--version") == (0, f"ream {version('ream')}\n", "")


def test_inspect_a_config_alone(ream, model, tmp_path):
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "config.json").write_text((model / "config.json").read_text())
    whole, alone = (
        dict(re.findall(r"^(\S.*?)  +(.*)$", ream("inspect", path)[1], re.MULTILINE)) for path in (model, "alone")
    )
    differs = {name for name in whole if whole[name] != alone.get(name)}
    assert differs == {"model", "read", "shards", "digest"}
    assert alone["shards"].startswith("none in this folder")


def test_inspect_an_unknown_family(ream, model, tmp_path):
    folder = tiny.damaged(model, tmp_path / "new")
    tiny.rewrite_config(folder, lambda config: config | {"model_type": "novel_moe", "router_group_count": 4})
    code, out, err = ream("inspect", folder)
    one_line((code, out, err), "novel_moe", "has no entry", "ream/models/family/families.py")
    for found in (
        "novel_moe", "config: num_experts", "config: router_group_count", "config: num_experts_per_tok",
        "tensors: model.layers.{n}.mlp.experts.{n}.up_proj.weight", "tensors: model.layers.{n}.mlp.gate.weight",
        "Family.experts_keys", "Family.width_key",
    ):  # fmt: skip
        assert found in out
    assert re.search(r"experts\.\{n\}\.up_proj\.weight +24 of \[8, 16\]", out)  # 8 experts in each of 3 layers
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    assert re.search(r"experts\.\{n\}\.up_proj\.weight +24$", ream("inspect", folder)[1], re.MULTILINE)


def test_estimate(ream, model, params):
    code, out, err = ream("estimate", model, "--experts", 4, "--params", params)
    assert code == 0
    before = sum(parameter.numel() for parameter in loaded(model).parameters())
    assert f"{before:,} -> {before - 3 * 4 * (3 * tiny.WIDTH + 1) * tiny.HIDDEN:,}" in out
    assert "GFLOP/s of float32" in out
    assert re.search(r"^sequences +a 4, b 4, by the mix balanced$", out, re.MULTILINE), "of n = 8"
    told = ream("estimate", model, "--experts", 4, "--params", params, "--method", "reap", "--mix", "a=1,b=3")[1]
    assert "a 2, b 6, by the mix custom; the graph of params.yaml walks a 4, b 4 once, for its 1 mixes" in told
    assert "expert parallelism over 8 GPUs: 4 experts are refused" in err
    assert "nearest supported: 8" in err
    one_line(ream("estimate", model, "--experts", 1, "--params", params), "keep at least 2")
    one_line(ream("estimate", model, "--experts", 3, "--group-size", 1, "--params", params), "use at least 2")


def test_no_room_for_it(ream, model, params, monkeypatch):
    """Estimate and compress end with an error where memory or disk is too small."""
    import ream.estimate.needs as estimate

    monkeypatch.setattr(estimate, "free_memory", lambda: 100_000_000)
    one_line(ream("estimate", model, "--experts", 4, "--params", params), "memory: about 0.", "0.10 GB is free")
    one_line(ream(*compress(model, "out", params)), "memory: about 0.", "compute.dtype")
    monkeypatch.setattr(estimate, "free_memory", lambda: None)
    monkeypatch.setattr(estimate, "free_disk", lambda folder: 10_000)
    one_line(ream(*compress(model, "out", params)), " kB of disk is needed while it runs", "choose another")
    assert sorted(path.name for path in Path().iterdir()) == []


def loaded(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_help_lists_every_command_and_option(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    runner = CliRunner()
    text = runner.invoke(cli.app, ["--help"]).output
    for command in ("inspect", "estimate", "compress", "apply", "verify", "evaluate", "compare", "stage"):
        assert command in text
    text = runner.invoke(cli.app, ["compress", "--help"], color=False).output
    for option in (
        "experts", "method", "mix", "calibration", "group-size", "sequences", "tokens", "device", "drop-shards",
        "set", "params",
    ):  # fmt: skip
        assert f"--{option}" in re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_stages_write_the_checkpoint_that_compress_writes(ream, model, tmp_path):
    """The graph's stages, called one after the other as dvc.yaml does, against `ream compress`."""
    import yaml

    params = tiny.write_params(tmp_path / "p", model)
    tree = yaml.safe_load(params.read_text())
    tree["exports"] = {"small": {"mix": "balanced", "method": "ream", "experts": 4}}
    params.write_text(yaml.safe_dump(tree, sort_keys=False))
    cell = ["--mix", "balanced", "--method", "ream", "--experts", 4]
    for stage in (
        ["model"], ["calibration", "--source", "a"], ["calibration", "--source", "b"], ["mixture", "--mix", "balanced"],
        ["sequential", *cell], ["fidelity", "--export", "small"], ["merge", "--export", "small"],
    ):  # fmt: skip
        assert ream("stage", *stage, "--params", params)[0] == 0
    assert len(read_corpus(tmp_path / "artifacts/calibration/a.parquet").sequences) == 8
    assert ream(*compress(model, "out", params, "--method", "ream", "--group-size", 8))[0] == 0
    by_stages, at_once = tiny.files(tmp_path / "models" / "small"), tiny.files(tmp_path / "out")
    # compress draws each source's share alone, so the hashes of the drawn files differ, and nothing else.
    # The graph measures the model's fidelity, for its card.
    facts = "ream/recipe.ream", "ream.json", "README.md"
    assert by_stages["README.md"].startswith(at_once["README.md"].rstrip() + b"\n\n<!-- fidelity")
    assert {name for name in by_stages | at_once if by_stages.get(name) != at_once.get(name)} <= {*facts}
    recipes = [load_recipe(tmp_path / folder / RECIPE) for folder in ("models/small", "out")]
    assert {key for key in recipes[0].facts if recipes[0].facts[key] != recipes[1].facts[key]} <= {"calibration"}
    for layer, same in zip(recipes[0].layers.values(), recipes[1].layers.values(), strict=True):
        one, other = pack_layer(layer), pack_layer(same)
        assert all(np.array_equal(one[name], other[name]) for name in one | other)
    params.write_text(yaml.safe_dump(tree | {"merge": {"shard_gb": 1}}, sort_keys=False))
    assert ream("stage", "merge", "--export", "small", "--params", params)[0] == 0
    assert [path.name for path in (tmp_path / "models" / "small").glob("model*")] == ["model.safetensors"]


@pytest.mark.parametrize("method", some_slow(["frequency", "ean", "reap"], keep=["reap"]))
def test_pruning_needs_no_dense_pass_and_each_sources_share_alone(ream, model, tmp_path, method):
    """`ream compress` of 16 sequences by a mix of halves keeps the experts of the graph's 8 of each source."""
    params = tiny.write_params(tmp_path / "p", model)
    tree = yaml.safe_load(params.read_text())
    params.write_text(yaml.safe_dump(tree | {"statistics": {**tree["statistics"], "sequences": "all"}}))
    cell = ["--mix", "balanced", "--method", method, "--experts", 4]
    for stage in (
        ["check"], ["model"],
        ["calibration", "--source", "a"], ["calibration", "--source", "b"], ["statistics", "--source", "a"],
        ["statistics", "--source", "b"], ["saliency", "--mix", "balanced"], ["grouping", *cell], ["alignment", *cell],
    ):  # fmt: skip
        assert ream("stage", *stage, "--params", params)[0] == 0
    assert ream(*compress(model, "out", params, "--method", method, "--sequences", 16))[0] == 0
    ours = load_recipe(tmp_path / "out" / RECIPE)
    graphs = load_recipe(tmp_path / f"artifacts/recipes/balanced/{method}/4.safetensors")
    assert ours.facts["tokens"] == graphs.facts["tokens"]
    for index, layer in graphs.layers.items():
        np.testing.assert_array_equal(ours.layers[index].groups.kept, layer.groups.kept)
        np.testing.assert_allclose(ours.layers[index].saliency, layer.saliency, rtol=1e-5)
