"""The table of stages: which options each stage takes, and which stages can run distributed."""

import pytest

from ream.commands.stage import STAGES, StageEntry, run_stage
from ream.errors import UserError
from ream.workspace.layout import Workspace
from tests.tiny import ROOT


@pytest.mark.parametrize(
    ("name", "given", "line"),
    [
        ("saliency", {}, "stage saliency takes --mix; given: none"),
        ("saliency", {"mix": "a", "method": "b"}, "stage saliency takes --mix; given: --mix --method"),
        ("items", {"mix": "a"}, "stage items takes no options; given: --mix"),
        ("evaluate", {"method": "a"}, "stage evaluate takes [--mix --method --experts]; given: --method"),
        (
            "statistics",
            {"source": "a", "shards": 2},
            "stage statistics takes --source [--shard --shards]; given: --source --shards",
        ),
    ],
)
def test_missing_and_superfluous_options_are_refused(name, given, line, tmp_path):
    with pytest.raises(UserError) as caught:
        run_stage(name, given, ROOT / "params.yaml", Workspace(tmp_path))
    assert str(caught.value) == line


def test_optional_options_are_given_together_or_not_at_all():
    entry = StageEntry(("a",), optional=("b", "c"))
    for given in (["a"], ["a", "b", "c"]):
        assert entry.accepts(set(given))
    for given in ([], ["a", "b"], ["b", "c"], ["a", "b", "c", "d"]):
        assert not entry.accepts(set(given))


def test_two_stages_run_distributed():
    assert [name for name, entry in STAGES.items() if entry.distributed] == ["statistics", "sequential"]
