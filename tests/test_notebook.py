"""docs/first-hour.ipynb: its cells run, and give the outputs that are stored in it."""

import json
import subprocess
import sys

import pytest

from tests.notebooks import run, stored
from tests.tiny import ROOT

PATH = ROOT / "docs" / "first-hour.ipynb"
RUN = "import json, sys; from tests.notebooks import run; print(json.dumps(run(json.loads(open(sys.argv[1]).read()))))"


def test_outputs_are_what_cells_print_and_end_with():
    cells = [{"cell_type": "code", "source": [line]} for line in ("x = 2; print('one')", "x + 1", "None", "y = x")]
    assert run({"cells": [*cells, {"cell_type": "markdown", "source": ["# x"]}]}) == ["one\n", "3\n", "", ""]


def test_the_notebook_is_executed_and_valid():
    notebook = json.loads(PATH.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert sum(map(bool, stored(notebook))) > 6
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_cells_give_the_stored_outputs(tmp_path):
    done = subprocess.run([sys.executable, "-c", RUN, str(PATH)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == stored(json.loads(PATH.read_text(encoding="utf-8")))
