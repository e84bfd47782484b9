"""What a flow run has started from this process, the flow's own or a Dask worker's, so that all of it can be ended."""

import threading

from flows.child import Children, StageError
from flows.warm import Warm

# Threads of a stage that wait for each other spin for a short while only: others want their cores. With OpenMP's own
# setting two processes of two threads on two cores take forty times as long as one, with this twice; one alone takes a
# tenth longer. How many threads is compute.threads' to say: sums in another order may differ in their last bit.
SHARED_CORES = {"GOMP_SPINCOUNT": "30000", "KMP_BLOCKTIME": "1"}


class Processes:
    """Of one flow run: the processes of its stages, and the one that they are forks of."""

    def __init__(self) -> None:
        self.children = Children()
        self._warm: Warm | None = None
        self._ended = False
        self._lock = threading.Lock()

    def environment(self) -> dict[str, str]:
        """Of a stage's process. The first to ask starts the process of the imports: a run with nothing to do has none.

        Raises:
            StageError: the run has ended.
        """
        with self._lock:
            if self._ended:
                raise StageError("not started: the flow is being stopped", again=False)
            if self._warm is not None and not self._warm.alive():
                self._warm.close()
                self._warm = None
            if self._warm is None:
                self._warm = Warm(SHARED_CORES)
            return SHARED_CORES | self._warm.environment()

    def end(self) -> None:
        """Stop all of them; no more can be started."""
        self.children.stop()
        with self._lock:
            self._ended = True
            if self._warm is not None:
                self._warm.close()


_RUNS: dict[str, Processes] = {}
_LOCK = threading.Lock()


def processes_of(flow_run: str) -> Processes:
    """What a flow run has in this process; several may run stages in one Dask worker.

    Args:
        flow_run: its id.
    """
    with _LOCK:
        return _RUNS.setdefault(flow_run, Processes())


def end_processes(flow_run: str) -> None:
    """A flow run has ended: stop what it has in this process. A task that comes late for it is refused."""
    processes_of(flow_run).end()
