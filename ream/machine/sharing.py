"""What processes on one machine share: how their threads wait for each other, and imports that are done already."""

import os
from collections.abc import MutableMapping

# Waiting threads spin only briefly, because other processes want their cores. With OpenMP's own setting two processes
# of two threads on two cores take forty times as long as one; with this setting, twice. One process alone takes a tenth
# longer at most (benchmarks/RESULTS.md, "Threads"). The number of threads is left to compute.threads: sums in another
# order may differ in their last bit.
SHARED_CORES = {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}

# Names the folder of programs that are forks of one process that has imported the libraries, where a flow or
# `make repro` has one (flows/warm.py).
FORKS = "REAM_FORKS"


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set SHARED_CORES where the user has not set them or OMP_WAIT_POLICY.

    OpenMP reads them once, when the first library that uses it is loaded.

    Args:
        environment: to change; this process's own by default.
    """
    for name, value in SHARED_CORES.items():
        if name not in environment and "OMP_WAIT_POLICY" not in environment:
            environment[name] = value
