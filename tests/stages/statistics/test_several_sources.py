"""Statistics of several sources in one walk: the files of separate walks, from weights that are read once."""

import pytest

from ream.commands.stage import run_stage
from ream.core.composition import ALL_QUANTITIES
from ream.machine.files import read_json
from ream.models.storage.checkpoint import Checkpoint
from ream.params import load_params
from ream.stages import statistics
from ream.workspace.layout import Workspace
from ream.workspace.needs import write_needs
from ream.workspace.options import StageOptions
from ream.workspace.shares import write_shares
from tests import tiny
from tests.subsets import some_slow

SOURCES = ["a", "b"]


@pytest.fixture
def prepared(mixed_depth, tmp_path):
    """Makes a workspace with the calibration text of both sources; returns params and workspace."""
    path = tiny.write_params(tmp_path, mixed_depth)

    def make(name):
        workspace = Workspace(tmp_path / name)
        for stage, given in [("model", {}), *(("calibration", {"source": source}) for source in SOURCES)]:
            run_stage(stage, given, path, workspace)
        write_needs(workspace, ALL_QUANTITIES)
        write_shares(workspace, {"a": None, "b": None})
        return load_params(path), workspace

    return make


def results(workspace):
    return {source: tiny.files(workspace.statistics(source)) for source in SOURCES}


@pytest.fixture
def read(monkeypatch):
    """The name of a tensor for every time that it is read."""
    names, plain = [], Checkpoint.read

    def counted(self, name, row=None):
        names.append((name, row))
        return plain(self, name, row)

    monkeypatch.setattr(Checkpoint, "read", counted)
    return names


def test_one_walk_writes_the_files_of_two_and_reads_each_layer_once(prepared, read):
    params, apart = prepared("apart")
    for source in SOURCES:
        statistics.run(params, apart, StageOptions(source))
    separately = len(read)
    read.clear()
    _, together = prepared("together")
    read.clear()
    lines = statistics.run_sources(params, together, SOURCES, StageOptions())
    layers = [each for each in read if ".layers." in each[0]]
    assert len(layers) == len(set(layers)) > 30
    assert len(read) < 0.6 * separately
    assert results(together) == results(apart)
    assert [line.split(":")[0] for line in lines] == ["statistics of a", "statistics of b"]
    assert not list(together.states.glob("statistics-*"))


@pytest.mark.parametrize("commits", some_slow([1, 2, 3, 5], keep=[3]))
def test_a_killed_walk_goes_on_for_each_source_from_where_it_stood(prepared, monkeypatch, commits):
    """Two sources and three layers: after an odd number of commits one source is a layer ahead."""
    from ream.walk.state import WalkState

    params, whole = prepared("whole")
    statistics.run_sources(params, whole, SOURCES, StageOptions())
    _, killed = prepared("killed")
    commit, done = WalkState.commit, []

    def counted(self, index, *given, **options):
        if len(done) == commits:
            raise KeyboardInterrupt
        commit(self, index, *given, **options)
        done.append((self.folder.name, index))

    monkeypatch.setattr(WalkState, "commit", counted)
    with pytest.raises(KeyboardInterrupt):
        statistics.run_sources(params, killed, SOURCES, StageOptions())
    stand = [read_json(path)["next_layer"] for path in sorted(killed.states.glob("*/progress.json"))]
    assert sum(stand) == commits
    monkeypatch.setattr(
        WalkState,
        "commit",
        lambda self, *given, **options: (commit(self, *given, **options), done.append((self.folder.name, given[0]))),
    )
    statistics.run_sources(params, killed, SOURCES, StageOptions())
    assert sorted(done) == sorted((f"statistics-{source}", index) for source in SOURCES for index in range(3))
    assert results(killed) == results(whole)


@pytest.mark.slow
def test_a_source_that_is_finished_is_not_walked_again(prepared, read):
    params, workspace = prepared("some")
    statistics.run(params, workspace, StageOptions("a"))
    before = (workspace.statistics("a") / "layer-000.safetensors").stat().st_mtime_ns
    statistics.run_sources(params, workspace, SOURCES, StageOptions())
    read.clear()
    assert len(statistics.run_sources(params, workspace, SOURCES, StageOptions())) == 2
    assert not [name for name, _ in read if ".layers." in name]
    assert (workspace.statistics("a") / "layer-000.safetensors").stat().st_mtime_ns == before


def test_the_sources_share_the_memory_for_hidden_states(prepared, monkeypatch):
    from ream.walk import state

    params, workspace = prepared("shared")
    plain, limits = state.WalkState.__init__, []

    def seen(self, folder, identity, discard_stale, facts=None, memory=0.0):
        limits.append(memory)
        plain(self, folder, identity, discard_stale, facts, memory)

    monkeypatch.setattr(state.WalkState, "__init__", seen)
    statistics.run_sources(params, workspace, SOURCES, StageOptions())
    assert limits == [params.compute.hidden_memory / 2] * 2
