"""What a flow run has started from this process, the flow's own or a Dask worker's, so that all of it can be ended."""

import threading

from flows.child import Children, StageError
from flows.warm import Warm
from ream.machine.sharing import SHARED_CORES


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
