"""Statistics of a source in parts: the same sums, however many processes they were made by."""

import shutil

import numpy as np
import pytest
import torch

from ream.commands.stage import run_stage
from ream.compress.one_shot import read_probes
from ream.compress.statistics_file import read_sums
from ream.core.composition import ALL_QUANTITIES
from ream.errors import UserError
from ream.machine.files import read_json
from ream.workspace.layout import Workspace
from ream.workspace.needs import write_needs
from ream.workspace.shares import write_shares
from tests.subsets import some_slow
from tests.tiny import write_params

LAYERS = (0, 2)


@pytest.fixture
def stage(mixed_depth, tmp_path):
    """Runs a stage for source a on a tiny model, after the stages model and calibration."""
    path = write_params(tmp_path, mixed_depth)

    def run(name, **options):
        given = {"source": "a", **options} if name != "model" else options
        return run_stage(name, given, path, Workspace(tmp_path / "artifacts"))

    run("model")
    run("calibration")
    write_needs(Workspace(tmp_path / "artifacts"), ALL_QUANTITIES)
    write_shares(Workspace(tmp_path / "artifacts"), {"a": None, "b": None})
    return run


@pytest.mark.parametrize("shards", some_slow([1, 2, 3], keep=[2]))
def test_shards_add_up_to_the_whole(stage, tmp_path, shards):
    assert "from" not in stage("statistics")
    out, whole = tmp_path / "artifacts" / "statistics" / "a", tmp_path / "whole"
    shutil.move(out, whole)
    for shard in range(shards):
        stage("statistics", shard=shard, shards=shards)
        assert not out.exists()
    assert stage("statistics").endswith(f"from {shards} shards")
    assert read_json(out / "facts.json") == read_json(whole / "facts.json")
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    for layer in LAYERS:
        one, many = read_sums(whole, layer).arrays(), read_sums(out, layer).arrays()
        for name in one:
            np.testing.assert_allclose(many[name], one[name], rtol=1e-13, atol=1e-13, err_msg=name)
        assert one["tokens"] > 100
        assert torch.equal(read_probes(out, layer), read_probes(whole, layer))
    assert not list((tmp_path / "artifacts" / ".state").glob("statistics-*")), "nothing is left behind"


@pytest.mark.slow
def test_a_missing_shard_is_not_added_up(stage):
    stage("statistics", shard=1, shards=2)
    assert "from" not in stage("statistics")


@pytest.mark.slow
def test_shards_of_other_settings_are_not_added_up(stage, tmp_path):
    for shard in range(2):
        stage("statistics", shard=shard, shards=2)
    path = tmp_path / "params.yaml"
    path.write_text(path.read_text().replace("probes: 100", "probes: 50"))
    assert "from" not in stage("statistics")
    assert len(read_probes(tmp_path / "artifacts" / "statistics" / "a", 0)) == 50


def test_a_finished_shard_is_not_walked_again(stage, tmp_path):
    stage("statistics", shard=0, shards=2)
    state = tmp_path / "artifacts" / ".state" / "statistics-a-shard-0-of-2"
    before = {path.name: path.stat().st_mtime_ns for path in state.glob("layer-*")}
    stage("statistics", shard=0, shards=2)
    assert {path.name: path.stat().st_mtime_ns for path in state.glob("layer-*")} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": 4, "shards": 4}, r"shard 4 of 4: .* at most 3, one per micro-batch;"),
        ({"shard": 0, "shards": 100}, r"shard 0 of 100: .* at most 3, one per micro-batch;"),
        ({"shard": -1, "shards": 2}, r"shard -1 of 2"),
        ({"shard": 0}, r"stage statistics takes --source \[--shard --shards\]; given: --source --shard"),
    ],
)
def test_impossible_shards_are_refused(stage, options, message):
    with pytest.raises(UserError, match=message):
        stage("statistics", **options)
