"""The processes that a flow run has started from this one (the flow's own, or a Dask worker); they end together."""

import atexit
import threading

from flows.child import Children, StageError
from flows.desk import Desk
from flows.warm import Warm
from ream.machine.sharing import SHARED_CORES


class Processes:
    """The processes of a flow run's stages, and the process that they are forks of.

    Attributes:
        children: the processes of stages.
        desk: begins and commits stages; None in processes other than the flow's, and where workers have clones.
    """

    def __init__(self) -> None:
        """Nothing runs yet."""
        self.children = Children()
        self.desk: Desk | None = None
        self._warm: Warm | None = None
        self._ended = False
        self._lock = threading.Lock()

    def environment(self, heavy: bool = False) -> dict[str, str]:
        """The variables to set for the process of a stage.

        The first call starts the process of the imports, unless `warm_up` has, so that a run with nothing to do does
        not.

        Args:
            heavy: whether the stage loads the model.

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
                self._warm = _taken_over() or Warm(SHARED_CORES)
            return SHARED_CORES | self._warm.environment(heavy)

    def end(self) -> None:
        """Stop all processes; no more can be started, and no more stages begun or committed."""
        self.children.stop()
        if self.desk is not None:
            self.desk.close()
        with self._lock:
            self._ended = True
            if self._warm is not None:
                self._warm.close()


_RUNS: dict[str, Processes] = {}
_WARM: list[Warm] = []  # started for a flow run that has not begun
_LOCK = threading.Lock()


def warm_up() -> None:
    """Start the process of the imports for the flow run that is about to begin in this process."""
    with _LOCK:
        _WARM.append(Warm(SHARED_CORES))
    atexit.register(_end_unused)


def _taken_over() -> Warm | None:
    """The process that `warm_up` has started, for one flow run."""
    with _LOCK:
        return _WARM.pop() if _WARM else None


def _end_unused() -> None:
    """End the process that `warm_up` has started where no stage was run."""
    if (warm := _taken_over()) is not None:
        warm.close()


def processes_of(flow_run: str) -> Processes:
    """The processes of a flow run. Several flow runs may have stages in one Dask worker.

    Args:
        flow_run: id of the flow run.
    """
    with _LOCK:
        return _RUNS.setdefault(flow_run, Processes())


def end_processes(flow_run: str) -> None:
    """Stop the processes of a flow run that has ended, and refuse its tasks that come late."""
    processes_of(flow_run).end()
