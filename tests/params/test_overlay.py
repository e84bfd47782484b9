"""Params files over others: what is merged, what is refused, what is written out, and where each value is from."""

import re

import pytest
import yaml

from ream.commands.params import shown
from ream.errors import UserError
from ream.machine.shipped import default_settings
from ream.params import load_params, parse_params
from ream.params.agreed import agreed_params
from ream.params.origins import settings_of
from ream.params.overlay import layers, merged
from ream.params.reading import read_tree
from ream.params.written_out import resolve, written_out
from tests.subsets import some_slow
from tests.tiny import ROOT

MINE = """\
# mine
extends: default
model: {path: my/model}
sources:
  notes: {kind: files, paths: [notes], windows: all, held_out: 0.1}
mixes:
  balanced: {notes: 0.7, math: 0.3}
run: {sources: [notes, math], mixes: [balanced], experts: [96]}
grouping: {group_size: {96: 16}}
calibration: {tokens: 2048}
suites:
  demo: {loss: [notes]}
"""


@pytest.fixture
def write(tmp_path):
    def make(text, name="mine.yaml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return make


def test_the_settings_that_ship_are_those_of_the_repository():
    """`extends: default` must not change when somebody writes another params.yaml."""
    assert default_settings().read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_ten_lines_over_the_settings_that_ship(write):
    mine, base = load_params(write(MINE)), load_params(ROOT / "params.yaml")
    assert mine.model.path == "my/model"
    assert (mine.calibration.tokens, mine.calibration.sequences) == (2048, base.calibration.sequences)
    assert mine.mixes["balanced"] == {"notes": 0.7, "math": 0.3}, "an entry is replaced as a whole"
    assert mine.mixes["code-heavy"] == base.mixes["code-heavy"]
    assert mine.grouping.group_size == {96: 16}
    assert mine.suites["demo"].loss == ["notes"], "a suite is merged key by key"
    assert mine.suites["demo"].mc == base.suites["demo"].mc
    assert mine.methods == base.methods
    assert mine.exports == {}, "its export is of a cell that the run no longer has"
    assert mine.run.rank == ["balanced"]
    assert mine.run.extra == base.run.extra
    assert mine.loss_source("notes").paths == ["notes"]


def test_null_takes_an_entry_away_and_inherited_names_of_other_mixes_go(write):
    text = "extends: default\nmixes: {own: {math: 1}}\nsources: {c4: null}\n"
    text += "run: {mixes: [own]}\nsuites: {demo: {loss: null}}\n"
    mine = load_params(write(text))
    assert "c4" not in mine.sources
    assert mine.suites["demo"].loss == []
    assert (mine.run.rank, mine.run.extra.mixes, mine.exports) == ([], [], {})
    with pytest.raises(
        UserError, match=r"run\.rank: mix 'balanced' is unknown"
    ):  # what is written stays, and is checked
        load_params(write(text.replace("mixes: [own]}", "mixes: [own], rank: [balanced]}")))


def test_a_file_that_names_its_methods_runs_no_others(write):
    text = "extends: default\nexports: {}\nrun: {one_shot: [reap], sequential: [ream]}\n"
    assert load_params(write(text)).run.extra.sequential == []
    own = text.replace("]}", "], extra: {mixes: [balanced], one_shot: [], sequential: [neurons-refit]}}")
    assert load_params(write(own)).run.extra.sequential == ["neurons-refit"]


def test_files_over_files_by_path_and_by_name(write):
    write("extends: mixtral-8x7b\ncalibration: {tokens: 64}\n", "base.yaml")
    path = write("extends: ../base.yaml\nmodel: {path: x}\n", "deeper/top.yaml")
    assert [layer.path.name for layer in layers(path)] == [
        "default.yaml", "qwen3-30b-a3b.yaml", "mixtral-8x7b.yaml", "base.yaml", "top.yaml"
    ]  # fmt: skip
    params = load_params(path)
    assert (params.model.path, params.calibration.tokens, params.run.experts) == ("x", 64, [6, 4])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("extends: qwen3-30b\n", "extends: 'qwen3-30b' is unknown; did you mean 'qwen3-30b-a3b'? ream has: default, "),
        ("extends: none.yaml\n", "extends names none.yaml, but "),
        ("extends: [default]\n", "extends is ['default']; name one params file or preset"),
        ("extends:\n", "extends is None; name one params file or preset"),
        ("extends: default\nmodel: {pth: x}\n", "key 'model.pth' is unknown; did you mean 'model.path'?"),
        ("extends: default\ncalibration: 3\n", "calibration: input should be"),
        ("model: {path: x}\nrun: {}\n", "the sections calibration, sources, mixes, methods, suites, evaluation are"),
    ],
)
def test_what_cannot_be_extended_is_refused_in_one_line(write, text, line):
    path = write(text)
    with pytest.raises(UserError) as error:
        load_params(path)
    assert str(error.value).startswith(f"{path}: {line}")
    assert len(str(error.value).splitlines()) == 1


def test_circles_and_towers_are_refused(write, tmp_path):
    write("extends: ./b.yaml\n", "a.yaml")
    write("extends: ./a.yaml\n", "b.yaml")
    with pytest.raises(UserError, match=r"a\.yaml extends .*b\.yaml extends .*a\.yaml again; take one `extends` out"):
        load_params(tmp_path / "a.yaml")
    for number in range(12):
        write(f"extends: ./{number + 1}.yaml\n", f"{number}.yaml")
    write("{}\n", "12.yaml")
    with pytest.raises(UserError, match="extends 10 files, one over the other"):
        load_params(tmp_path / "0.yaml")


def test_dvc_gets_whole_files_alone(write):
    with pytest.raises(
        UserError, match=r"extends default, which DVC cannot see; .* ream params resolve mine\.yaml --out"
    ):
        agreed_params(write(MINE, "params.yaml"))


# Written out


def test_what_is_written_out_has_the_values_and_the_comments(write, tmp_path):
    path, out = write(MINE), tmp_path / "params.yaml"
    resolve(path, out)
    assert yaml.safe_load(out.read_text()) == merged(layers(path))
    assert agreed_params(out) == load_params(path), "DVC reads it alike"
    assert "# Ablations of the paper's Table 4 and Fig. 4(a)" in out.read_text()
    assert out.read_text().startswith(f"# Written by `ream params resolve {path}`: change that file and run it again.")
    assert written_out(ROOT / "params.yaml") == (ROOT / "params.yaml").read_text(), "a whole file stays as it is"


@pytest.mark.slow
def test_what_somebody_wrote_is_not_replaced(write, tmp_path):
    path, out = write(MINE), tmp_path / "params.yaml"
    resolve(path, out)
    path.write_text(MINE.replace("2048", "1024"))
    resolve(path, out)  # what `resolve` wrote, it replaces
    assert load_params(out).calibration.tokens == 1024
    out.write_text(out.read_text().replace("tokens: 1024", "tokens: 512"))
    with pytest.raises(UserError, match=r"params\.yaml was not written by `ream params resolve`, or was changed since"):
        resolve(path, out)
    resolve(path, out, force=True)
    assert load_params(out).calibration.tokens == 1024
    with pytest.raises(UserError, match=r"is what .* is made of, so it cannot be written over"):
        resolve(path, path, force=True)


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "paper-glm-4.5-air", "paper-demo"])
def test_a_preset_is_written_out_with_its_values(name):
    path = ROOT / "params" / f"{name}.yaml"
    assert yaml.safe_load(written_out(path)) == read_tree(path)


# Where each value is from


def test_every_setting_has_its_line(write):
    path = write(MINE)
    origins = {".".join(setting.keys): (setting.value, setting.origin) for setting in settings_of(path)}
    line = {key: number for number, text in enumerate(MINE.splitlines(), 1) for key in re.findall(r"(\w+):", text)}
    default = {
        text.split(":")[0].strip(): n for n, text in enumerate((ROOT / "params.yaml").read_text().splitlines(), 1)
    }
    assert origins["model.path"] == ("my/model", f"{path}:{line['model']}")
    assert origins["model.keep_shards"] == (True, "default")
    assert origins["mixes.balanced.notes"] == (0.7, f"{path}:{line['balanced']}")
    assert "mixes.balanced.general" not in origins
    assert origins["calibration.fill"] == (0.9, f"default:{default['fill']}")
    assert origins["calibration.tokens"] == (2048, f"{path}:{line['calibration']}")
    assert origins["sources.notes.column"] == ("text", "default"), "the entry is given, this key is not"
    assert origins["suites.demo.loss"] == (["notes"], f"{path}:{line['demo']}")
    assert origins["suites.demo.loss_tokens"][1] == f"default:{default['loss_tokens']}"
    assert origins["grouping.group_size.96"] == (16, f"{path}:{line['grouping']}")


@pytest.mark.parametrize(
    "name",
    some_slow(
        ["params.yaml", "params/kimi-k2-w4a16.yaml", "params/paper-qwen3-coder-next.yaml"],
        keep=["params/kimi-k2-w4a16.yaml"],
    ),
)
def test_what_is_shown_is_a_params_file_of_the_same_settings(name):
    settings = settings_of(ROOT / name)
    for plain in (True, False):
        assert parse_params(yaml.safe_load("\n".join(shown(settings, plain)))) == load_params(ROOT / name)
    assert all(" # " in line or line.endswith(":") for line in shown(settings, False))
