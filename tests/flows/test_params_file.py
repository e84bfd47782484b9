"""New values in params.yaml."""

import pytest
import yaml

from flows.params_file import change_params, parse_assignments
from ream.errors import UserError
from tests.graphs import ROOT


@pytest.fixture
def path(tmp_path):
    """A copy of the repository's own params.yaml."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return tmp_path / "params.yaml"


def read(path):
    return yaml.safe_load(path.read_text())


def test_a_value_changes_and_comments_stay(path):
    before = read(path)
    change_params(path, {"mixes.balanced.code": 0.5, "grouping.group_size.24": 6, "calibration.seed": 7})
    after = read(path)
    assert after["mixes"]["balanced"]["code"] == 0.5
    assert after["grouping"]["group_size"][24] == 6
    assert after["calibration"]["seed"] == 7
    after["mixes"]["balanced"]["code"], after["grouping"]["group_size"][24] = 0.3, 4
    after["calibration"]["seed"] = 0
    assert after == before
    comments = [line.split("#", 1)[1] for line in (ROOT / "params.yaml").read_text().splitlines() if "#" in line]
    assert all(comment in path.read_text() for comment in comments)


def test_a_changed_entry_leaves_the_entries_merged_from_it(path):
    """ream-released and the ablations take over ream by a YAML merge."""
    before = read(path)
    change_params(path, {"methods.ream.alignment": ["weights"]})
    after = read(path)
    assert after["methods"].pop("ream")["alignment"] == ["weights"]
    before["methods"].pop("ream")
    assert after == before


def test_a_new_mix(path):
    change_params(path, {"mixes.mostly-code": {"general": 0.1, "code": 0.9}})
    assert read(path)["mixes"]["mostly-code"] == {"general": 0.1, "code": 0.9}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixs.balanced.code": 1}, r"has no 'mixs.balanced.code': there is no 'mixs' to change"),
        ({"mixes.balanced.code.x": 1}, r"has no 'mixes.balanced.code.x': it names a key of a single value"),
        ({"mixes.balanced.cod": 1}, r"cod"),
        ({"calibration.tokens": "many"}, r"calibration.tokens"),
        ({"mixes.balanced": {"general": 0, "math": 0, "code": 0}}, r"balanced"),
    ],
)
def test_nothing_is_written_unless_all_is_valid(path, values, message):
    before = path.read_text()
    with pytest.raises(UserError, match=message):
        change_params(path, {"calibration.seed": 3, **values})
    assert path.read_text() == before


def test_assignments():
    assert parse_assignments(["a.b=0.5", "c=[x, 1]", "d= text"]) == {"a.b": 0.5, "c": ["x", 1], "d": "text"}
    for wrong in ("a.b", "=1"):
        with pytest.raises(UserError, match=r"is not NAME=VALUE, as in mixes.balanced.code=0.5"):
            parse_assignments([wrong])
