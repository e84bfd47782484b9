"""The Prefect task that runs one stage: here, in a Dask worker that shares the workspace, or in a worker's clone."""

import time
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Failed
from prefect.tasks import Task

from flows.artifacts import Progress, failures_logged, show_stage
from flows.child import Event, OnProgress, StageError
from flows.clones import Snapshot, reproduce_in_clone
from flows.graph import Stage
from flows.live_trials import LiveTrials
from flows.processes import Processes, processes_of
from flows.reproduced import Reproduced
from flows.settings import repository
from flows.work import Work, carry_out

RETRY_SECONDS = [2.0, 10.0, 30.0]


def is_worth_retrying(task: "Task[Any, Any]", run: TaskRun, state: "State[Any]") -> bool:
    """Whether a failed stage may succeed unchanged, because its process was killed."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageError) and error.again


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    retry_condition_fn=is_worth_retrying,
)
def run_stage(
    stage: Stage,
    root: str,
    flow_run: str,
    environment: dict[str, str],
    work: Work | None = None,
    snapshot: Snapshot | None = None,
) -> "Reproduced | State[Any] | None":
    """Run one stage and show its figures.

    Args:
        stage: the stage.
        root: the repository.
        flow_run: id of the flow run that the stage is part of.
        environment: variables of the stage's process, added to those that all processes of the flow run have.
        work: what is to be done. In the flow's own process the results are then committed; where the task runs in
            another one, the schedule commits them.
        snapshot: state of the flow's clone. If given, the stage runs in this process's own clone instead of ``root``,
            and that clone must match; DVC does all of the work there.

    Returns:
        What the stage has left in another clone if it ran in one, else None; the state Failed with the reason where the
        stage failed for a reason that trying again does not change, and Cancelled where its run was stopped.

    Raises:
        StageError: the stage's process was killed.
    """
    logger = get_run_logger()
    progress = Progress(stage.name)
    started = time.monotonic()
    processes = processes_of(flow_run)
    folder, reproduced = Path(root) if snapshot is None else repository(), None
    trials = LiveTrials(stage, folder)

    def on_progress(event: Event) -> None:
        with failures_logged():
            progress.show(event)
        trials.show()

    try:
        reproduced = _run(stage, root, processes, environment, work, snapshot, on_progress)
    except StageError as error:
        if processes.children.stopped.is_set():
            return Cancelled(message=f"stage {stage.name}: the run was stopped")
        if error.again:
            raise
        logger.error(str(error))
        return Failed(message=str(error))
    with failures_logged():
        show_stage(stage, folder, time.monotonic() - started)
    return reproduced


def _run(
    stage: Stage,
    root: str,
    processes: Processes,
    environment: dict[str, str],
    work: Work | None,
    snapshot: Snapshot | None,
    on_progress: OnProgress,
) -> Reproduced | None:
    """Do a stage's work, and commit it if the desk is in this process; the arguments are those of `run_stage`."""
    log = get_run_logger().info
    environment = processes.environment(stage.loads_model) | environment
    if snapshot is not None:
        return reproduce_in_clone(stage, snapshot, environment, log, on_progress, processes.children)
    if work is not None:
        carry_out(work, environment, log, on_progress, processes.children)
        if processes.desk is not None and processes.desk.has_begun(stage.name):
            processes.desk.commit(stage.name, log)
    return None
