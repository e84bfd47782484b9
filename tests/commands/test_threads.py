"""compute.threads: a number holds wherever the graph runs; a single model gets all cores."""

from pathlib import Path

import pytest
import torch

from ream.commands.request import Request, requested
from ream.models.runtime import runtime
from tests.graphs import ROOT


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_number_of_threads_is_set_and_auto_leaves_it():
    assert runtime("cpu", "auto", 2) == (torch.device("cpu"), torch.float32)
    assert torch.get_num_threads() == 2
    runtime("cpu", "bfloat16", "auto")
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("settings", "threads"), [((), "auto"), (("compute.threads=3",), 3)])
def test_a_command_that_runs_alone_uses_all_cores_unless_told_otherwise(settings, threads):
    request = Request(model="m", out=Path("o"), experts=16, method="reap", settings=settings)
    params, _ = requested(request, ROOT / "params.yaml")
    assert params.compute.threads == threads
