"""One prepared workspace for all tests of searches."""

import shutil

import pytest

from ream.workspace.layout import Workspace
from tests.search.prepared import prepare


@pytest.fixture(scope="session")
def statistics(tmp_path_factory, checkpoint):
    """(params, workspace) whose statistics serve pruning, merging and ream's relative; not to be changed."""
    return prepare(tmp_path_factory.mktemp("search"), checkpoint, ("reap", "m-smoe", "ream"))


@pytest.fixture
def prepared(statistics, tmp_path):
    """(params, workspace) of a copy."""
    params, workspace = statistics
    shutil.copytree(workspace.root, tmp_path / "artifacts")
    return params, Workspace(tmp_path / "artifacts")
