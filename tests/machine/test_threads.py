"""The number of threads that torch, numpy and scipy compute with."""

import os
import subprocess
import sys

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from ream.machine.threads import set_threads

SET = """
from threadpoolctl import threadpool_info
from ream.machine.threads import set_threads
set_threads(1)
import numpy, scipy.cluster.hierarchy, scipy.optimize
print({pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
"""


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    with threadpool_limits(user_api="blas"):  # restores what there was
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2])
def test_every_library_has_as_many(number):
    set_threads(number)
    assert torch.get_num_threads() == number
    blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    assert blas == {number}


@pytest.mark.slow
def test_a_library_that_is_imported_later_has_no_more():
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", SET], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "{1}\n"
