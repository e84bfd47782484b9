"""Threads that wait let others have the cores, unless the user has said otherwise."""

import os
import subprocess
import sys

import pytest

from ream.machine.sharing import SHARED_CORES, share_cores


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, SHARED_CORES),
        ({"GOMP_SPINCOUNT": "7"}, SHARED_CORES | {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
    ],
    ids=["nothing said", "a count", "a policy"],
)
def test_what_the_user_has_said_stays(given, left):
    environment = dict(given)
    share_cores(environment)
    assert environment == left


def test_a_command_sets_it_before_a_library_with_threads_is_there():
    """OpenMP reads its settings once, when it is loaded."""
    program = (
        "import os, sys\n"
        "import ream.commands.cli\n"
        "assert 'torch' not in sys.modules\n"
        "ream.commands.cli.app = lambda **_: print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)\n"
        "ream.commands.cli.main(ream.commands.cli.app)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in SHARED_CORES}
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert answer.stdout.split() == [SHARED_CORES["GOMP_SPINCOUNT"], "False"], answer.stderr
