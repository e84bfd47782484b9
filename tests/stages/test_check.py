"""Stage check: what does not fit the model is refused before any work."""

import pytest
import yaml

from ream.errors import UserError
from ream.evaluation.suite_checks import OFFLINE
from ream.params import load_params
from ream.stages import check
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from tests import tiny


@pytest.fixture
def run(checkpoint, tmp_path, monkeypatch):
    """Runs the stage with a suite on a model of 256 positions, online."""
    for name in OFFLINE:
        monkeypatch.delenv(name, raising=False)
    path = tiny.write_params(tmp_path, checkpoint)

    def of(**suite):
        tree = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump(tree | {"suites": {"none": suite}}))
        workspace = Workspace(tmp_path / "artifacts")
        return check.run(load_params(path), workspace, StageOptions()), workspace.check

    return of


def test_settings_that_fit(run):
    line, sign = run(mc=["arc_easy"], loss=["math"], loss_tokens=256)
    assert "2 models of 4 experts" in line
    assert sign.read_text() == '{\n "checked": true\n}\n'


@pytest.mark.parametrize(
    ("suite", "line"),
    [
        ({"gen": ["aime25"]}, r"^task 'aime25' lets the model write up to 32768 tokens .* context of 256 tokens"),
        ({"gen": ["gsm8k"]}, r"^task 'gsm8k' lets the model write up to 256 tokens"),
        ({"loss": ["math"], "loss_tokens": 257}, r"^suites\.none\.loss_tokens: 257 is more than the model's 256"),
        ({"gen": ["humaneval"]}, r"^task 'humaneval' executes code"),
    ],
)
def test_a_suite_that_does_not_fit_the_model(run, suite, line):
    with pytest.raises(UserError, match=line):
        run(**suite)
