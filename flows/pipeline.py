"""The flow: every stage of dvc.yaml as a task that starts as soon as what it needs is there."""

import concurrent.futures
import queue
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prefect import flow, get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun, TaskRunResult
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.futures import PrefectConcurrentFuture, PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from flows import artifacts
from flows.child import CHILDREN, StageError, reproduce
from flows.graph import BusyError, Stage, outdated, read_graph, select
from flows.resources import Devices, models_at_once
from flows.settings import change_params, repository
from ream.errors import UserError

CACHED = "Cached"
MODEL_TAG = "model"
THREADS: Any = ThreadPoolTaskRunner(max_workers=64)  # how many stages run at once is the schedule's to say
RETRY_SECONDS = [2.0, 10.0, 30.0]
# Threads of a stage that wait for each other sleep at once instead of spinning: others want their cores. The number of
# threads is left as it is, because sums taken in another order may differ in the last bit.
SHARED_CORES = {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}


def worth_another_try(task: Task, run: TaskRun, state: State) -> bool:
    """Whether a failed stage may succeed unchanged: a lock was held or something killed it; never after bad input."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, StageError) and error.again


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    retry_condition_fn=worth_another_try,
)
def run_stage(stage: Stage, root: str, environment: dict[str, str]) -> float:
    """Run one stage through DVC.

    Args:
        stage: to run. root: of the repository.
        environment: of its process, on top of this one's.

    Returns:
        Seconds it took.

    Raises:
        StageError: it failed.
    """
    logger = get_run_logger()
    progress = artifacts.Progress(stage.name)
    started = time.monotonic()

    def tell(event: dict[str, Any]) -> None:
        with _only_told(logger):
            progress.tell(event)

    reproduce(stage.name, Path(root), environment, logger.info, tell)
    seconds = time.monotonic() - started
    with _only_told(logger):
        artifacts.stage_table(stage, Path(root), seconds)
    return seconds


@contextmanager
def _only_told(logger: Any) -> Iterator[None]:
    """What people are shown may fail without failing the work that it is about."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("artifacts can't be shown: %s", error)


@flow(name="ream", persist_result=False, task_runner=THREADS)
def pipeline(
    targets: list[str] | None = None,
    set_params: dict[str, Any] | None = None,
    workers: int = 2,
    models: int | None = None,
) -> State:
    """Bring the graph of dvc.yaml, or the targets in it, up to date.

    Args:
        targets: stages (``evaluate@balanced``) or kinds of stages (``evaluate``); everything if empty.
        set_params: new values in params.yaml, by dotted name: {"mixes.balanced.code": 0.5}. As with
            ``dvc exp run -S``, params.yaml keeps them.
        workers: stages that run at once.
        models: stages among them that hold the model; by default as many as there are GPUs, without any as many as the
            memory takes.
    """
    root = repository()
    if workers < 1 or (models is not None and models < 1):
        raise UserError(f"workers ({workers}) and models ({models}) must be at least 1")
    if set_params:
        change_params(root / "params.yaml", set_params)
    stages = select(read_graph(root), targets or [])
    limit = min(workers, models or models_at_once(root))
    set_tag_limit(MODEL_TAG, limit)
    CHILDREN.open()
    try:
        states = Schedule(root, stages, workers, limit).run()
    finally:
        CHILDREN.stop()
    done = [stage for name, stage in stages.items() if states[name].is_completed()]
    evaluations = [root / path for stage in done if stage.kind.startswith("evaluate") for path in stage.outputs]
    reports = [
        root / path for stage in done if stage.kind == "report" for path in stage.outputs if path.endswith(".md")
    ]
    with _only_told(get_run_logger()):
        artifacts.scores(evaluations, next(iter(reports), None))
        if any(states[stage.name].name != CACHED for stage in done):
            artifacts.main_figure(evaluations)
    return ended(states)


def ended(states: Mapping[str, State]) -> State:
    """The flow's last state from those of its stages."""
    failed = [name for name, state in states.items() if state.is_failed() or state.is_crashed()]
    skipped = [name for name, state in states.items() if not state.is_final()]
    cached = sum(state.name == CACHED for state in states.values())
    counts = f"{len(states) - len(failed) - len(skipped) - cached} stages ran, {cached} cached"
    get_run_logger().info(counts)
    if failed:
        more = f"; not run: {', '.join(skipped)}" if skipped else ""
        return Failed(message=f"failed: {', '.join(failed)}{more}; {counts}")
    return Completed(message=counts)


class Schedule:
    """Submits each stage when all that it needs has ended, in the order of `dvc repro` where several could start."""

    def __init__(self, root: Path, stages: Mapping[str, Stage], workers: int, models: int) -> None:
        self.root, self.stages, self.workers, self.models = root, stages, workers, models
        self.devices = Devices()
        self.outdated = outdated(root, list(stages))
        self._decided: dict[str, bool] = {}
        self.futures: dict[str, PrefectFuture[Any]] = {}
        self.states: dict[str, State] = {}
        self.running: dict[str, str | None] = {}  # name to GPU
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self) -> dict[str, State]:
        """All stages' last states."""
        while len(self.states) < len(self.stages):
            for stage in self._ready():
                self._submit(stage)
            name = self._ended.get()
            future = self.futures[name]
            future.wait()
            self.states[name] = future.state
            self.devices.give_back(self.running.pop(name))
        return self.states

    def _ready(self) -> list[Stage]:
        """What can start now; what only waits for the end of others is left, but what needs no process is not."""
        free, models = (
            self.workers - len(self.running),
            self.models - sum(self.stages[name].loads_model for name in self.running),
        )
        ready = []
        for name, stage in self.stages.items():
            if name in self.futures or not all(need in self.states for need in self._needs(stage)):
                continue
            if not self._current(stage) and not self._hopeless(stage):
                if free == 0 or (stage.loads_model and models == 0):
                    continue
                free -= 1
                models -= stage.loads_model
            ready.append(stage)
        return ready

    def _submit(self, stage: Stage) -> None:
        needed = [self.futures[need] for need in self._needs(stage)]
        if self._current(stage):
            self.futures[stage.name] = cached_run(stage, needed)
            self.running[stage.name] = None
            self._ended.put(stage.name)
            return
        device = self.devices.take() if stage.loads_model else None
        environment = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        if self.workers > 1:
            environment |= SHARED_CORES
        tags = {stage.kind, MODEL_TAG} if stage.loads_model else {stage.kind}
        runner: Any = run_stage.with_options(name=stage.name, task_run_name=stage.name, tags=tags)
        self.running[stage.name] = device
        future = runner.submit(stage, str(self.root), environment, wait_for=needed)
        self.futures[stage.name] = future
        future.add_done_callback(lambda _, name=stage.name: self._ended.put(name))

    def _needs(self, stage: Stage) -> Iterable[str]:
        return (need for need in stage.needs if need in self.stages)

    def _hopeless(self, stage: Stage) -> bool:
        """Something that it needs has failed or was not run: Prefect will mark it as not ready."""
        return any(not self.states[need].is_completed() for need in self._needs(stage))

    def _current(self, stage: Stage) -> bool:
        """Whether DVC would find nothing to do, once all that it needs has ended."""
        if stage.name not in self._decided:
            self._decided[stage.name] = not self._hopeless(stage) and self._unchanged(stage)
        return self._decided[stage.name]

    def _unchanged(self, stage: Stage) -> bool:
        reason = self.outdated.get(stage.name)
        if reason == "itself" or all(self.states[need].name == CACHED for need in self._needs(stage)):
            return reason is None
        try:
            return not outdated(self.root, [stage.name])  # what it needs has run since: DVC looks again
        except BusyError:
            return False  # its process will look


def cached_run(stage: Stage, needed: Sequence[PrefectFuture[Any]]) -> PrefectFuture[Any]:
    """A task run that is Cached from the start: no thread, no process, no slot among its tags' limits.

    Args:
        stage: that DVC finds unchanged. needed: the task runs of what it needs.
    """
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    run = run_stage.with_options(name=stage.name, tags={stage.kind})
    state: State = Completed(name=CACHED, message="DVC finds the stage unchanged")
    with get_client(sync_client=True) as client:
        made = client.create_task_run(
            run,
            context.flow_run.id,
            dynamic_key=stage.name,
            name=stage.name,
            state=state,
            task_inputs={"wait_for": [TaskRunResult(id=future.task_run_id) for future in needed]},
        )
    done: concurrent.futures.Future[Any] = concurrent.futures.Future()
    done.set_result(state)
    return PrefectConcurrentFuture(made.id, done)


def set_tag_limit(tag: str, limit: int) -> None:
    """Let the server, too, run only so many tasks with this tag at once, whichever flow run they are of."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(f"tag:{tag}", limit)
