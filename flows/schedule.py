"""The order of a flow run: each stage starts once what it needs has ended and a slot is free."""

import concurrent.futures
import queue
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import get_client
from prefect.client.schemas.objects import State, TaskRunResult
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows.child import Log, StageError
from flows.clones import Snapshot, sync_with_remote, take_snapshot
from flows.desk import Desk
from flows.flow_run import end_everywhere, flow_run_id, on_dask
from flows.graph import Stage
from flows.outdated import foreseen, outdated
from flows.processes import processes_of
from flows.reproduced import take_over
from flows.resources import Devices
from flows.stage_task import run_stage
from flows.work import Work

CACHED = "Cached"  # name of the state of a stage that DVC finds unchanged
MODEL_TAG = "model"
PREFECT_PREFIX = re.compile(r"^Task run encountered an exception:? (?:\w+: )?")


class Schedule:
    """Submits each stage once all stages that it needs have ended.

    Where several could start, they start in the order of `dvc repro`. Unless workers have clones of their own, the desk
    begins and commits stages, all in this process; tasks only run what is between.
    """

    def __init__(self, root: Path, stages: Mapping[str, Stage], workers: int, models: int, clones: bool) -> None:
        """Ask DVC which stages are outdated; with clones, exchange outputs with the DVC remote.

        Args:
            root: the repository.
            stages: the stages to run by name, in the order of `dvc repro`.
            workers: how many stages run at once.
            models: how many stages that hold the model run at once.
            clones: whether each Dask worker has its own clone of the repository.

        Raises:
            UserError: see `outdated` and `sync_with_remote`.
        """
        self._root, self._stages, self._workers, self._models = root, stages, workers, models
        self._devices = Devices()
        self._log: Log = get_run_logger().info
        names = list(stages)
        self._outdated = foreseen(root, stages, self._log)
        if clones:
            self._outdated = sync_with_remote(root, names, self._outdated, self._log)
        self._flow_run = str(flow_run_id())
        self._desk = None if clones else Desk(root, self._log)
        processes_of(self._flow_run).desk = self._desk
        self._helpers = concurrent.futures.ThreadPoolExecutor(2 * workers)  # they wait for the desk
        self._is_current: dict[str, bool] = {}
        self._cached: set[str] = set()
        self._futures: dict[str, PrefectFuture[Any]] = {}
        self._states: dict[str, State] = {}
        self._running: dict[str, str | None] = {}  # name to GPU
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()  # what to do next in this thread

    def run(self) -> dict[str, State]:
        """Run all stages to their end; returns the last state of each by name."""
        try:
            while len(self._states) < len(self._stages):
                for stage in self._startable():
                    self._start(stage)
                self._events.get()()
            return self._states
        finally:
            end_everywhere(self._flow_run)
            self._helpers.shutdown(cancel_futures=True)

    def _startable(self) -> list[Stage]:
        """The stages to start now: all that they need has ended, and a slot is free.

        Stages that start no process, because they are unchanged or because what they need has failed, take no slot.
        """
        slots = self._workers - len(self._running)
        model_slots = self._models - sum(self._stages[name].loads_model for name in self._running)
        startable = []
        for name, stage in self._stages.items():
            started = name in self._running or name in self._futures
            if started or not all(need in self._states for need in self._needs(stage)):
                continue
            if not self._current(stage) and not self._hopeless(stage):
                if slots <= 0 or (stage.loads_model and model_slots <= 0):
                    continue
                slots -= 1
                model_slots -= stage.loads_model
            startable.append(stage)
        return startable

    def _start(self, stage: Stage) -> None:
        """Let the desk begin a stage, or submit it at once where there is nothing to begin."""
        self._running[stage.name] = None
        if self._current(stage):
            self._skip(stage)
        elif self._hopeless(stage):  # Prefect marks it as NotReady, unless only the commit of what it needs has failed
            self._submit(stage, Work(stage.name, str(self._root), "", problem="a stage that it needs has failed"))
        elif stage.part_of is not None:
            self._submit(stage, Work(stage.name, str(self._root), str(self._root), (stage.command,)))
        elif self._desk is None:
            self._submit(stage, None)
        else:
            beginning = self._helpers.submit(self._desk.begin, stage.name, self._log)
            beginning.add_done_callback(lambda done: self._events.put(lambda: self._on_begun(stage, done)))

    def _on_begun(self, stage: Stage, begun: "concurrent.futures.Future[Work | None]") -> None:
        """Go on with a stage that the desk has begun, or found unchanged, or refused."""
        try:
            work = begun.result()
        except StageError as error:
            work = Work(stage.name, str(self._root), str(self._root), problem=str(error))
        if work is None:
            self._skip(stage)
        else:
            self._submit(stage, work)

    def _skip(self, stage: Stage) -> None:
        """Create the task run of an unchanged stage, which is Cached."""
        self._futures[stage.name] = cached_run(stage, [self._futures[need] for need in self._needs(stage)])
        self._cached.add(stage.name)
        self._events.put(lambda: self._end(stage.name, self._futures[stage.name].state))

    def _submit(self, stage: Stage, work: Work | None) -> None:
        """Submit a stage to the task runner."""
        device = self._devices.take() if stage.loads_model and not on_dask() else None
        environment = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        tags = {stage.kind, MODEL_TAG} if stage.loads_model else {stage.kind}
        task: Any = run_stage.with_options(name=stage.name, task_run_name=stage.name, tags=tags)
        # Futures of cached stages belong to this process; Dask would have to send them to its workers.
        needed = [self._futures[need] for need in self._needs(stage) if not (on_dask() and need in self._cached)]
        self._running[stage.name] = device
        snapshot = self._snapshot(stage)
        future = task.submit(stage, str(self._root), self._flow_run, environment, work, snapshot, wait_for=needed)
        self._futures[stage.name] = future
        future.add_done_callback(lambda _: self._events.put(lambda: self._on_ended(stage)))

    def _on_ended(self, stage: Stage) -> None:
        """Take note of the end of a task; commit what a task in another process has made."""
        future = self._futures[stage.name]
        future.wait()
        state = future.state
        if on_dask() and (state.is_failed() or state.is_crashed()):  # its own log is at the worker and the server only
            get_run_logger().error(failure_reason(state))
        if self._desk is None and state.is_completed():
            take_over(self._root, stage, future.result(), self._log)
        if self._desk is not None and self._desk.has_begun(stage.name):
            if state.is_completed():
                committing = self._helpers.submit(self._desk.commit, stage.name, self._log)
                committing.add_done_callback(lambda done: self._events.put(lambda: self._on_committed(stage, done)))
                return
            self._desk.drop(stage.name)
        self._end(stage.name, state)

    def _on_committed(self, stage: Stage, committed: "concurrent.futures.Future[None]") -> None:
        """Take note that the desk has committed a stage, or refused to. Prefect's server then still has Completed."""
        state = self._futures[stage.name].state
        try:
            committed.result()
        except StageError as error:
            get_run_logger().error(str(error))
            state = Failed(message=str(error))
        self._end(stage.name, state)

    def _end(self, name: str, state: State) -> None:
        """Keep the last state of a stage, and free its slot and GPU."""
        self._states[name] = state
        self._devices.give_back(self._running.pop(name))

    def _snapshot(self, stage: Stage) -> Snapshot | None:
        """What a worker's clone must match before it runs a stage; None where workers share this workspace."""
        if self._desk is not None:
            return None
        return take_snapshot(self._root, on_remote=self._outdated.get(stage.name, "needs") == "needs")

    def _needs(self, stage: Stage) -> Iterable[str]:
        """The stages of this run that a stage needs."""
        return (need for need in stage.needs if need in self._stages)

    def _hopeless(self, stage: Stage) -> bool:
        """Whether a stage that it needs has failed or was not run."""
        return any(not self._states[need].is_completed() for need in self._needs(stage))

    def _current(self, stage: Stage) -> bool:
        """Whether it is certain that DVC finds nothing to do; to be asked once all that the stage needs has ended.

        The desk finds out about other stages when it begins them.
        """
        if stage.name not in self._is_current:
            self._is_current[stage.name] = not self._hopeless(stage) and self._unchanged(stage)
        return self._is_current[stage.name]

    def _unchanged(self, stage: Stage) -> bool:
        """Whether the stage matches dvc.lock, from what DVC said at the start of the run where that still holds."""
        name = stage.part_of or stage.name
        reason = self._outdated.get(name)
        if reason in ("itself", "outputs") or all(self._states[need].name == CACHED for need in self._needs(stage)):
            return reason is None
        if self._desk is None:
            return not outdated(self._root, [name], self._log)  # what it needs has run since, so ask DVC again
        return stage.part_of is not None and not self._desk.changed(name, self._log)


def cached_run(stage: Stage, needed: Sequence[PrefectFuture[Any]]) -> PrefectFuture[Any]:
    """A task run that is Cached from the start; it takes no thread, no process and no slot of its tags' limits.

    Args:
        stage: a stage that DVC finds unchanged.
        needed: the task runs of the stages that it needs.
    """
    task = run_stage.with_options(name=stage.name, tags={stage.kind})
    state: State = Completed(name=CACHED, message="DVC finds the stage unchanged", data=CACHED)
    with get_client(sync_client=True) as client:
        task_run = client.create_task_run(
            task,
            flow_run_id(),
            dynamic_key=stage.name,
            name=stage.name,
            state=state,
            task_inputs={"wait_for": [TaskRunResult(id=future.task_run_id) for future in needed]},
        )
    done: concurrent.futures.Future[Any] = concurrent.futures.Future()
    done.set_result(state)
    return PrefectConcurrentFuture(task_run.id, done)


def failure_reason(state: State) -> str:
    """Why a task run has failed, in one line."""
    return PREFECT_PREFIX.sub("", state.message or state.name or "").partition("\n")[0]
