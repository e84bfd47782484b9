"""The flow: every stage of dvc.yaml as a task that starts as soon as what it needs is there."""

import concurrent.futures
import queue
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

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
from flows.child import StageError, program, reproduce, run
from flows.clones import Snapshot, check_remote, merge_entry, pull, reproduce_in_clone, share, snapshot
from flows.graph import BusyError, Stage, outdated, read_graph, select, with_shards
from flows.processes import end_processes, processes_of
from flows.resources import Devices, models_at_once
from flows.settings import change_params, repository
from ream.errors import UserError

CACHED = "Cached"
MODEL_TAG = "model"
THREADS: Any = ThreadPoolTaskRunner(max_workers=64)  # how many stages run at once is the schedule's to say
RETRY_SECONDS = [2.0, 10.0, 30.0]
SAYS_PREFECT = re.compile(r"^Task run encountered an exception:? (?:\w+: )?")


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
def run_stage(
    stage: Stage, root: str, flow_run: str, environment: dict[str, str], given: Snapshot | None = None
) -> str | None:
    """Run one stage through DVC.

    Args:
        stage: to run. root: of the repository.
        flow_run: the id of its flow run.
        environment: of its process, on top of that of the flow run's others.
        given: what this process's own clone, which is then used instead of ``root``, must agree on.

    Returns:
        The stage's entry of dvc.lock where it ran in another clone.

    Raises:
        StageError: it failed.
    """
    logger = get_run_logger()
    progress = artifacts.Progress(stage.name)
    started = time.monotonic()

    def tell(event: dict[str, Any]) -> None:
        with _only_told(logger):
            progress.tell(event)

    processes = processes_of(flow_run)
    environment = processes.environment() | environment
    children = processes.children
    where, entry = Path(root), None
    if given is not None:
        where = repository()
        entry = reproduce_in_clone(stage, given, environment, logger.info, tell, children)
    elif stage.part_of is not None:
        command = shlex.split(stage.command)
        command = [*program(command[0], environment), *command[1:]]
        run(stage.name, command, where, environment, logger.info, tell, children)
    else:
        reproduce(stage.name, where, environment, logger.info, tell, children)
    with _only_told(logger):
        artifacts.stage_table(stage, where, time.monotonic() - started)
    return entry


@contextmanager
def _only_told(logger: Any) -> Iterator[None]:
    """What people are shown may fail without failing the work that it is about."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("artifacts can't be shown: %s", error)


@flow(name="ream", persist_result=False, task_runner=THREADS)
def pipeline(
    targets: list[str] = [],  # noqa: B006 - never changed; the browser's form shows an empty list and not "None"
    set_params: dict[str, Any] = {},  # noqa: B006
    workers: int = 2,
    models: int | None = None,
    shards: int = 1,
    clones: bool = False,
) -> State:
    """Bring the graph of dvc.yaml, or the targets in it, up to date.

    Args:
        targets: stages (``evaluate@balanced``) or kinds of stages (``evaluate``); everything if empty.
        set_params: new values in params.yaml, by dotted name: {"mixes.balanced.code": 0.5}. As with
            ``dvc exp run -S``, params.yaml keeps them.
        workers: stages that run at once.
        models: stages among them that hold the model; by default as many as there are GPUs, without any as many as the
            memory takes.
        shards: parts into which the statistics of each source are split, to be made at once and added up.
        clones: each worker (of a Dask cluster) has a clone of its own instead of sharing this workspace; results go
            through DVC's default remote.
    """
    root = repository()
    check_request(root, workers, models, shards, clones)
    if set_params:
        change_params(root / "params.yaml", set_params)
    stages = with_shards(select(read_graph(root), targets), shards)
    limit = min(workers, models or models_at_once(root))
    set_tag_limit(MODEL_TAG, limit)
    states = Schedule(root, stages, workers, limit, clones).run()
    done = [stage for name, stage in stages.items() if states[name].is_completed()]
    fresh = [stage for stage in done if states[stage.name].name != CACHED]
    if clones and fresh:
        pull(root, [stage.name for stage in fresh])
    evaluations = [root / path for stage in done if stage.kind.startswith("evaluate") for path in stage.outputs]
    reports = [
        root / path for stage in done if stage.kind == "report" for path in stage.outputs if path.endswith(".md")
    ]
    with _only_told(get_run_logger()):
        artifacts.scores(evaluations, next(iter(reports), None))
        if fresh:
            artifacts.main_figure(evaluations)
    return ended(states)


def check_request(root: Path, workers: int, models: int | None, shards: int, clones: bool) -> None:
    """Refuse what can't be run; arguments as of `pipeline`.

    Raises:
        UserError: a number below 1, shards and clones at once, clones without a remote or of uncommitted code.
    """
    if min(workers, 1 if models is None else models, shards) < 1:
        raise UserError(f"workers ({workers}), models ({models}) and shards ({shards}) must be at least 1")
    if clones and shards > 1:
        raise UserError("shards add up in one workspace; give either shards or clones")
    if clones:
        check_remote(root)
        snapshot(root)


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

    def __init__(self, root: Path, stages: Mapping[str, Stage], workers: int, models: int, clones: bool) -> None:
        self.root, self.stages, self.workers, self.models, self.clones = root, stages, workers, models, clones
        self.devices = Devices()
        names = list(stages)
        self.outdated = outdated(root, names)
        if clones:
            self.outdated = share(root, names, self.outdated)
        self._flow_run = str(this_flow_run())
        self._decided: dict[str, bool] = {}
        self._cached: set[str] = set()
        self.futures: dict[str, PrefectFuture[Any]] = {}
        self.states: dict[str, State] = {}
        self.running: dict[str, str | None] = {}  # name to GPU
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self) -> dict[str, State]:
        """All stages' last states."""
        try:
            return self._run()
        finally:
            end_everywhere(self._flow_run)

    def _run(self) -> dict[str, State]:
        while len(self.states) < len(self.stages):
            for stage in self._ready():
                self._submit(stage)
            name = self._ended.get()
            future = self.futures[name]
            future.wait()
            self.states[name] = state = future.state
            if on_dask() and (state.is_failed() or state.is_crashed()):  # its own log is the worker's and the server's
                get_run_logger().error(reason(state))
            if self.clones and self.states[name].is_completed() and name not in self._cached:
                merge_entry(self.root, name, future.result())
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
                if free <= 0 or (stage.loads_model and models <= 0):
                    continue
                free -= 1
                models -= stage.loads_model
            ready.append(stage)
        return ready

    def _submit(self, stage: Stage) -> None:
        if self._current(stage):
            self.futures[stage.name] = cached_run(stage, [self.futures[need] for need in self._needs(stage)])
            self._cached.add(stage.name)
            self.running[stage.name] = None
            self._ended.put(stage.name)
            return
        device = self.devices.take() if stage.loads_model and not on_dask() else None
        environment = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        tags = {stage.kind, MODEL_TAG} if stage.loads_model else {stage.kind}
        runner: Any = run_stage.with_options(name=stage.name, task_run_name=stage.name, tags=tags)
        # Dask would have to send the futures of cached stages, which are of this process, to its workers.
        needed = [self.futures[need] for need in self._needs(stage) if not (on_dask() and need in self._cached)]
        given = snapshot(self.root, self.outdated.get(stage.name, "needs") == "needs") if self.clones else None
        self.running[stage.name] = device
        future = runner.submit(stage, str(self.root), self._flow_run, environment, given, wait_for=needed)
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
        name = stage.part_of or stage.name
        reason = self.outdated.get(name)
        if reason in ("itself", "outputs") or all(self.states[need].name == CACHED for need in self._needs(stage)):
            return reason is None
        try:
            return not outdated(self.root, [name])  # what it needs has run since: DVC looks again
        except BusyError:
            return False  # its process will look


def cached_run(stage: Stage, needed: Sequence[PrefectFuture[Any]]) -> PrefectFuture[Any]:
    """A task run that is Cached from the start: no thread, no process, no slot among its tags' limits.

    Args:
        stage: that DVC finds unchanged. needed: the task runs of what it needs.
    """
    run = run_stage.with_options(name=stage.name, tags={stage.kind})
    state: State = Completed(name=CACHED, message="DVC finds the stage unchanged", data=CACHED)
    with get_client(sync_client=True) as client:
        made = client.create_task_run(
            run,
            this_flow_run(),
            dynamic_key=stage.name,
            name=stage.name,
            state=state,
            task_inputs={"wait_for": [TaskRunResult(id=future.task_run_id) for future in needed]},
        )
    done: concurrent.futures.Future[Any] = concurrent.futures.Future()
    done.set_result(state)
    return PrefectConcurrentFuture(made.id, done)


def reason(state: State) -> str:
    """Why a task run has failed, in a line."""
    return SAYS_PREFECT.sub("", state.message or state.name or "").partition("\n")[0]


def on_dask() -> bool:
    """Whether this flow run's tasks go to a Dask cluster."""
    return dask_client() is not None


def dask_client() -> Any:
    """The client of the cluster that runs this flow run's tasks; None where they are threads of this process."""
    context = FlowRunContext.get()
    return None if context is None else getattr(context.task_runner, "client", None)


def this_flow_run() -> UUID:
    """The id of the flow run that calls this."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run.id


def end_everywhere(flow_run: str) -> None:
    """Stop what a flow run has started in this process and in all Dask workers."""
    end_processes(flow_run)
    client = dask_client()
    if client is not None:
        client.run(end_processes, flow_run, on_error="ignore")  # a worker that is gone has nothing to stop


def set_tag_limit(tag: str, limit: int) -> None:
    """Let the server, too, run only so many tasks with this tag at once, whichever flow run they are of."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(f"tag:{tag}", limit)
