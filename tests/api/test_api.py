"""`import ream`: light, complete, typed, and the same as the command line."""

import dataclasses
import inspect
import json
import subprocess
import sys

import pytest
import typer

import ream
from ream.commands import cli
from tests import tiny
from tests.subsets import some_slow
from tests.tiny import ROOT

COMMANDS = typer.main.get_command(cli.app).commands
FUNCTIONS = ("inspect", "estimate", "compress", "apply", "verify", "evaluate", "compare")
IMPORTED = """
import json, sys
import ream
before = sorted(sys.modules)
for name in ("errors", "compress", "estimate", *dir(ream)):
    if name in ("compress", "estimate", "UserError", "__version__"):
        getattr(ream, name)
print(json.dumps([before, sorted(sys.modules)]))
"""
ORDERS = {
    "the function first": "import ream; f = ream.compress; import ream.compress.decide, ream.estimate.needs",
    "the room first": "import ream.compress.decide, ream.estimate.needs; import ream",
    "from ream": "from ream import compress, estimate, verify, UserError; import ream",
}


def python(code):
    """What a fresh Python prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_ream_imports_nothing_else():
    before, after = json.loads(python(IMPORTED).splitlines()[-1])
    assert [name for name in before if name.startswith("ream")] == ["ream"]
    for modules in (before, after):
        packages = {name.partition(".")[0] for name in modules}
        assert not packages & {"torch", "numpy", "transformers", "pydantic", "typer", "yaml", "pyarrow"}
    assert {name for name in after if name.startswith("ream")} == {
        "ream", "ream.errors", "ream.compress", "ream.estimate", "ream.machine", "ream.machine.callable_package"
    }  # fmt: skip


@pytest.mark.parametrize("order", some_slow(ORDERS, keep=["from ream"]))
def test_rooms_and_functions_of_one_name_are_both_there(order):
    code = f"{ORDERS[order]}\nimport ream.compress.decide as decide\nprint(callable(ream.compress), decide.__name__)\n"
    code += "try:\n    ream.estimate('none', experts=2)\nexcept ream.UserError as error:\n    print(error)"
    first, second = python(code).splitlines()
    assert first == "True ream.compress.decide"
    assert second.startswith("model 'none' is neither a folder")


def test_what_there_is(monkeypatch):
    assert set(FUNCTIONS) < set(dir(ream)) == set(ream.__all__)
    assert ream.UserError is __import__("ream.errors").errors.UserError
    with pytest.raises(AttributeError, match="module 'ream' has no attribute 'compres'"):
        ream.compres  # noqa: B018
    stub = (ROOT / "ream" / "__init__.pyi").read_text()
    assert all(f" {name} as {name}\n" in stub or name == "__version__" for name in ream.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_what_the_command_takes(name):
    signature = inspect.signature(getattr(ream, name))
    options = {parameter.name for parameter in COMMANDS[name].params} - {"help"}
    assert {*signature.parameters} - {"say"} == options
    assert signature.return_annotation in {ream.Inspected, ream.Estimated, ream.Compressed, ream.Verified,
                                           ream.Evaluation, ream.Comparison}  # fmt: skip
    assert dataclasses.is_dataclass(signature.return_annotation)
    assert signature.return_annotation.__dataclass_params__.frozen


def test_defaults_are_those_of_the_commands():
    for name in ("estimate", "compress"):
        assert inspect.signature(getattr(ream, name)).parameters["method"].default == "ream"
        (option,) = (each for each in COMMANDS[name].params if each.name == "method")
        assert option.default == ("ream" if name == "estimate" else None)  # compress takes several, ["ream"] if none


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    tiny.write_params(folder / "params")
    (folder / "notes").mkdir()
    for number, text in enumerate(tiny.documents(7, 40)):
        (folder / "notes" / f"{number}.txt").write_text(text * 4)
    return folder


@pytest.fixture(scope="module")
def options(work):
    return {
        "experts": 4,
        "method": "reap",
        "params": work / "params" / "params.yaml",
        "settings": {"compute.threads": 1},
    }


@pytest.fixture(scope="module")
def compressed(work, checkpoint, options):
    said = []
    mix = {"notes": 0.5, "a": 0.25, "b": 0.25}
    result = ream.compress(checkpoint, work / "out", text=work / "notes", mix=mix, say=said.append, **options)
    return result, said


def test_a_result_has_what_was_written(work, checkpoint, compressed):
    result, said = compressed
    assert (result.out, result.recipe_path) == (work / "out", work / "out" / "ream" / "recipe.ream")
    config = json.loads((work / "out" / "config.json").read_text())
    assert config["num_experts"] == result.made.experts == 4
    assert (result.made.original, result.made.original_experts, result.made.method) == (str(checkpoint), 8, "reap")
    assert dict(result.made.ratios) == {"notes": 0.5, "a": 0.25, "b": 0.25}
    expert = 3 * tiny.HIDDEN * tiny.WIDTH + tiny.HIDDEN  # and its row of the router
    assert result.parameters_before - result.parameters == 3 * 4 * expert
    assert result.fraction == result.parameters / result.parameters_before
    assert [len(layer.groups.kept) for layer in result.recipe.layers.values()] == [4] * 3
    assert list(result.lines) + list(result.warnings) == sorted(said, key=lambda line: line in result.warnings)
    assert any("saw fewer than 100 calibration tokens" in line for line in result.warnings)
    assert len(repr(result)) < 2000


def test_the_command_line_writes_the_same(work, checkpoint, options, compressed, monkeypatch):
    given = ["compress", checkpoint, work / "by-command", "--experts", 4, "--method", "reap", "--text", work / "notes"]
    given += ["--mix", "notes=0.5,a=0.25,b=0.25", "--params", options["params"], "--set", "compute.threads=1"]
    monkeypatch.setattr(sys, "argv", ["ream", *map(str, given)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    one, two = (tiny.files(work / name) for name in ("out", "by-command"))
    assert one == two


def test_apply_and_verify(work, checkpoint, compressed):
    result = ream.apply(checkpoint, compressed[0].recipe_path, work / "again")
    assert (result.parameters, result.made) == (compressed[0].parameters, compressed[0].made)
    shards = {name: data for name, data in tiny.files(work / "out").items() if name.endswith(".safetensors")}
    assert shards == {name: data for name, data in tiny.files(work / "again").items() if name in shards}
    verified = ream.verify(work / "again")
    assert verified.made == result.made
    assert verified.figures["experts"].startswith("4 in each of 3 layers")


def test_inspect_and_estimate(checkpoint, options, compressed):
    found = ream.inspect(checkpoint)
    assert found.figures["experts"].startswith("8")
    plan = ream.estimate(checkpoint, **options)
    assert plan.fits
    assert plan.shortfall is None
    assert plan.needs.parameters_after == compressed[0].parameters


def test_an_estimate_that_does_not_fit_says_so(checkpoint, options, monkeypatch):
    monkeypatch.setattr("ream.estimate.needs.free_memory", lambda: 1000)
    plan = ream.estimate(checkpoint, **options)
    assert not plan.fits
    assert "memory" in plan.shortfall


def test_evaluate_and_compare(work, checkpoint, options, compressed, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    given = {"text": [f"{work / 'notes'}=held"], "sequences": 3, "tokens": 32}
    further = {name: options[name] for name in ("params", "settings")}
    original, small = (ream.evaluate(model, **given, **further) for model in (checkpoint, work / "out"))
    assert original.made is None
    assert small.made == compressed[0].made
    assert set(small.loss) == {"held"}
    assert small.mean_loss == small.loss["held"] != original.mean_loss
    assert (small.tasks, small.mc, small.gen, small.parameters) == ({}, None, None, compressed[0].parameters)
    both = ream.evaluate(checkpoint, recipe=[compressed[0].recipe_path], with_original=True, **given, **further)
    (by_recipe,) = both.others
    assert (both.loss, both.made, both.scores.cells[1].mean_loss) == (original.loss, None, by_recipe.mean_loss)
    assert by_recipe.loss == pytest.approx(dict(small.loss), rel=1e-5)
    assert by_recipe.made == small.made
    close = ream.compare(checkpoint, work / "out", **given, **further)
    assert close.texts["held"].kl.value == close.mean.kl.value > 0
    assert close.texts["held"].sequences == 3
    assert close.table.splitlines()[1].startswith("held ")
    assert ream.compare(checkpoint, checkpoint, **given, **further).mean.kl.value == 0


def test_wrong_input_is_a_user_error_of_one_line(work, checkpoint, options):
    for arguments, line in (
        ({"experts": 99}, "experts: 99 is more than the model's 8; keep at most 8"),
        ({"text": "nowhere"}, "--text: nowhere does not exist"),
        ({"settings": {"compute.thread": 1}}, "--set: key 'compute.thread' is unknown"),
        ({"params": "mixtral"}, "--params: mixtral does not exist"),
    ):
        with pytest.raises(ream.UserError) as error:
            ream.compress(checkpoint, work / "wrong", **(options | arguments))
        assert str(error.value).startswith(line)
        assert len(str(error.value).splitlines()) == 1
    assert not (work / "wrong").exists()
