"""How threads of this process wait for each other, before any library that has threads is imported."""

import os
from collections.abc import MutableMapping

# They spin for a short while only: others want their cores. With OpenMP's own setting two processes of two threads on
# two cores take forty times as long as one, with this twice; one alone takes a tenth longer at most
# (benchmarks/RESULTS.md, "Threads"). How many threads is compute.threads' to say: sums in another order may differ in
# their last bit.
SHARED_CORES = {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}


def share_cores(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what the user has not: OpenMP reads it once, when the first library that uses it is loaded."""
    for name, value in SHARED_CORES.items():
        if name not in environment and "OMP_WAIT_POLICY" not in environment:
            environment[name] = value
