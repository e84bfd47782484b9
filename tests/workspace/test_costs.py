"""Usage of stages: recorded when they run, summed for a recipe, absent where a stage has not run here."""

import json
import time

import pytest

from ream.machine.memory import peak_memory
from ream.params import load_params
from ream.workspace.costs import Usage, cost_of, recorded, together
from ream.workspace.layout import Workspace
from tests.tiny import write_params


@pytest.fixture
def params(tmp_path):
    return load_params(write_params(tmp_path / "p"))


def put(workspace, **taken):
    """Records of stages: name to (seconds, host bytes)."""
    for stage, (seconds, host) in taken.items():
        path = workspace.cost(stage.replace("_", "-"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"seconds": seconds, "host_bytes": host, "device_bytes": 0}))


def test_a_stage_is_measured_when_it_ends(tmp_path):
    with recorded(tmp_path / "stage.json"):
        time.sleep(0.05)
    usage = Usage(**json.loads((tmp_path / "stage.json").read_text()))
    assert 0.05 <= usage.seconds < 5
    assert 10e6 < usage.host_bytes <= peak_memory()
    assert usage.device_bytes == 0


def test_a_stage_that_fails_leaves_no_record(tmp_path):
    with pytest.raises(RuntimeError), recorded(tmp_path / "stage.json"):
        raise RuntimeError
    assert not (tmp_path / "stage.json").exists()


def test_stages_after_each_other_add_their_seconds_and_share_the_highest_peak():
    assert together([Usage(1, 10, 7), Usage(2.5, 4, 9)]) == Usage(3.5, 10, 9)


def test_a_one_shot_recipe_costs_its_statistics_and_all_that_follows(params, tmp_path):
    workspace = Workspace(tmp_path / "w")
    put(
        workspace,
        statistics_a=(8, 100),
        statistics_b=(4, 300),
        saliency_balanced=(2, 5),
        grouping_balanced_reap_4=(1, 5),
    )
    assert cost_of(params, workspace, "balanced", "reap", 4) is None, "alignment has not run"
    put(workspace, alignment_balanced_reap_4=(0.5, 200))
    assert cost_of(params, workspace, "balanced", "reap", 4) == Usage(15.5, 300)


def test_a_sequential_recipe_costs_the_drawing_of_its_mix_and_its_own_stage(params, tmp_path):
    workspace = Workspace(tmp_path / "w")
    put(workspace, mixture_balanced=(1, 20), sequential_balanced_ream_4=(5, 70))
    assert cost_of(params, workspace, "balanced", "ream", 4) == Usage(6, 70)
    workspace.cost("sequential-balanced-ream-4").write_text("{")
    assert cost_of(params, workspace, "balanced", "ream", 4) is None, "damaged"
