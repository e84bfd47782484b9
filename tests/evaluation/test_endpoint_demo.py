"""`ream evaluate --endpoint` on the demo model behind a server: the numbers of the backend hf, on its own tasks."""

import json
import sys

import pytest
import transformers

from ream.commands import cli
from tests.evaluation.served import KEY as GIVEN
from tests.evaluation.served import NAME, Served, serving
from tests.tiny import ROOT

MODEL = ROOT / "data" / "demo-model"
SUITE = ["--set", "suites.demo.loss_sequences=2", "--set", "suites.demo.loss_tokens=64", "--limit", "8"]
pytestmark = pytest.mark.slow


@pytest.fixture
def ream(monkeypatch, tmp_path, capsys):
    """A function that runs ream in ROOT and returns its exit code and what it prints on stderr."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ream", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().err

    return run


def test_the_demo_model_behind_a_server_scores_as_in_memory(ream, monkeypatch, tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype="float32").eval()
    served = Served(model, transformers.AutoTokenizer.from_pretrained(MODEL), key=GIVEN)
    monkeypatch.setenv("REAM_ENDPOINT_KEY", GIVEN)
    cells = {}
    with serving(served) as url:
        for name, more in (("hf", ()), ("endpoint", ("--endpoint", url, "--endpoint-model", NAME))):
            out = tmp_path / f"{name}.json"
            code, error = ream("evaluate", MODEL, "--suite", "demo", *SUITE, *more, "--out", out)
            assert code == 0, error
            assert GIVEN not in out.read_text()
            (cells[name],) = json.loads(out.read_text())["cells"]
        code, error = ream("evaluate", MODEL, "--suite", "demo", "--endpoint", url, "--endpoint-model", "other")
        assert (code, f"did you mean '{NAME}'" in error or "'other' is unknown" in error) == (2, True)
    assert cells["endpoint"]["parameters"] == cells["hf"]["parameters"]
    for task, score in cells["hf"]["tasks"].items():
        assert cells["endpoint"]["tasks"][task]["value"] == score["value"], task
        assert cells["endpoint"]["tasks"][task]["counts"] == score["counts"], task
    assert cells["hf"]["mc"] > 30
    for source, loss in cells["hf"]["loss"].items():
        assert cells["endpoint"]["loss"][source]["loss"] == pytest.approx(loss["loss"], abs=1e-4)
