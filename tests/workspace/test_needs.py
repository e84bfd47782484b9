"""What the statistics of a graph consist of."""

import json

import pytest
import yaml

from ream.core.composition import ALL_QUANTITIES
from ream.errors import UserError
from ream.params import load_params
from ream.workspace.layout import Workspace
from ream.workspace.needs import needed, read_needs, write_needs
from tests.tiny import write_params


@pytest.mark.parametrize(
    ("one_shot", "extra", "expected"),
    [
        (["frequency"], [], set()),
        (["frequency", "ean"], [], {"norms"}),
        (["reap", "ean", "frequency"], [], {"norms"}),
        (["reap"], ["m-smoe"], {"norms", "logit-gram"}),
        (["reap", "hc-smoe"], [], {"norms", "output-means", "probes"}),
    ],
)
def test_the_union_of_one_shot_methods_and_nothing_for_sequential_ones(one_shot, extra, expected, tmp_path):
    path = write_params(tmp_path)
    tree = yaml.safe_load(path.read_text())
    tree["run"] |= {"one_shot": one_shot, "extra": {"mixes": ["balanced"], "one_shot": extra}}
    path.write_text(yaml.safe_dump(tree))
    assert needed(load_params(path)) == expected


def test_what_is_written_is_read(tmp_path):
    workspace = Workspace(tmp_path)
    with pytest.raises(UserError, match=r"needs\.json is missing; run `ream stage check` first"):
        read_needs(workspace)
    for quantities in (ALL_QUANTITIES, frozenset(), frozenset({"norms"})):
        write_needs(workspace, quantities)
        assert read_needs(workspace) == quantities
    workspace.needs.write_text(json.dumps({"statistics": ["norms", "moods"]}))
    with pytest.raises(UserError, match="moods"):
        read_needs(workspace)
