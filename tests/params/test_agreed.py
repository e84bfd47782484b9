"""Params files that DVC, by YAML 1.2, and ream, by YAML 1.1, read differently are refused."""

import pytest

from ream.errors import UserError
from ream.params import load_params
from ream.params.agreed import agreed_params
from ream.params.written_out import resolve
from tests.graphs import ROOT
from tests.subsets import some_slow

FILES = ["params.yaml", *(f"params/{path.name}" for path in sorted((ROOT / "params").glob("*.yaml")))]
DIFFERENT = [
    ("seed: 0", "seed: 010", "section 'calibration'"),
    ("seed: 0", "seed: 0\n  seed: 1", "DVC cannot read it"),
    ("seed: 0", "seed: 0o7", "seed"),
]


@pytest.mark.parametrize(("old", "new", "message"), DIFFERENT)
def test_a_file_that_dvc_reads_otherwise_is_refused(old, new, message, tmp_path):
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        agreed_params(path)


@pytest.mark.parametrize("name", some_slow(FILES, keep=["params.yaml", "params/mixtral-8x7b.yaml"]))
def test_a_params_file_is_read_alike_when_it_is_written_out(name, tmp_path):
    resolve(ROOT / name, tmp_path / "params.yaml")
    assert agreed_params(tmp_path / "params.yaml") == load_params(ROOT / name)
