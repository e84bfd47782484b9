"""The flow: every stage of dvc.yaml as a task, which starts as soon as the stages that it needs have ended."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed, Running
from prefect.task_runners import ThreadPoolTaskRunner

from flows.artifacts import failures_logged, show_overview, show_results
from flows.clones import pull
from flows.compared_code import compare_code
from flows.flow_run import flow_run_name, set_tag_limit, show_state
from flows.graph import Stage, read_graph, select, with_shards
from flows.params_file import change_params
from flows.request import check_request
from flows.resources import models_at_once
from flows.run_name import name_of_this_run
from flows.schedule import CACHED, MODEL_TAG, Schedule
from flows.settings import repository
from flows.turns import turn
from ream.errors import UserError

THREADS: Any = ThreadPoolTaskRunner(max_workers=64)  # the schedule decides how many stages run at once


@flow(name="ream", flow_run_name=name_of_this_run, persist_result=False, task_runner=THREADS)
def pipeline(
    targets: list[str] = [],  # noqa: B006 - never changed; the browser's form shows an empty list and not "None"
    set_params: dict[str, Any] = {},  # noqa: B006
    workers: int = 2,
    models: int | None = None,
    shards: int = 1,
    clones: bool = False,
) -> State:
    """Bring the graph of dvc.yaml, or the targets in it, up to date.

    One run at a time changes a workspace: another one waits, in the state Waiting, and says for which. What a person
    can correct ends the run with its message and without a traceback.

    Args:
        targets: stages (``evaluate@balanced``) or kinds of stages (``evaluate``); everything if empty.
        set_params: new values in params.yaml, by dotted name: {"mixes.balanced.code": 0.5}. As with
            ``dvc exp run -S``, params.yaml keeps them. What executes code, and paths outside of the workspace, are
            refused.
        workers: how many stages run at once.
        models: how many of these may hold the model; by default one for each GPU, or, without GPUs, as many as the free
            memory allows.
        shards: parts into which the statistics of each source are split; they run at once and are added up.
        clones: whether each worker of a Dask cluster has its own clone of the repository instead of sharing this
            workspace; results travel through DVC's default remote.
    """
    root = repository()
    os.chdir(root)  # for DVC's Python API, which resolves some paths against it
    logger = get_run_logger()

    def on_wait(message: str) -> None:
        logger.info(message)
        show_state(Running(name="Waiting", message=message))

    try:
        with turn(root, flow_run_name(), on_wait) as waited:
            if waited:
                show_state(Running())
            return up_to_date(root, targets, set_params, workers, models, shards, clones)
    except UserError as error:
        logger.error(str(error))
        return Failed(message=str(error))


def up_to_date(
    root: Path,
    targets: Sequence[str],
    set_params: Mapping[str, Any],
    workers: int,
    models: int | None,
    shards: int,
    clones: bool,
) -> State:
    """Bring the graph up to date; returns the state in which the run ends.

    The arguments after the repository are those of `pipeline`.

    Raises:
        UserError: the request, params.yaml or the graph is wrong.
    """
    check_request(root, workers, models, shards, clones)
    if set_params:
        change_params(root / "params.yaml", dict(set_params))
    compare_code(root)
    stages = with_shards(select(read_graph(root), targets), shards)
    limit = min(workers, models or models_at_once(root))
    set_tag_limit(MODEL_TAG, limit)
    states = Schedule(root, stages, workers, limit, clones).run()
    completed = [stage for name, stage in stages.items() if states[name].is_completed()]
    ran = [stage for stage in completed if states[stage.name].name != CACHED]
    if clones and ran:
        pull(root, [stage.name for stage in ran], get_run_logger().info)
    with failures_logged():
        show(root, completed, overview=bool(ran))
    return final_state(states)


def show(root: Path, stages: Sequence[Stage], overview: bool) -> None:
    """Show the scores and the report of the stages that are up to date.

    Args:
        root: the repository.
        stages: stages whose outputs are up to date.
        overview: whether to draw the overview figure, too.
    """
    evaluations = [
        root / path for stage in stages if stage.kind == "evaluate" for path in stage.outputs if path.endswith(".json")
    ]
    reports = [
        root / path for stage in stages if stage.kind == "report" for path in stage.outputs if path.endswith(".md")
    ]
    show_results(evaluations, next(iter(reports), None))
    if overview:
        show_overview(evaluations)


def final_state(states: Mapping[str, State]) -> State:
    """The state in which the flow ends, from the last states of its stages."""
    failed = [name for name, state in states.items() if state.is_failed() or state.is_crashed()]
    cancelled = [name for name, state in states.items() if state.is_cancelled()]
    skipped = [name for name, state in states.items() if not state.is_final()]
    cached = sum(state.name == CACHED for state in states.values())
    counts = f"{len(states) - len(failed) - len(cancelled) - len(skipped) - cached} stages ran, {cached} cached"
    get_run_logger().info(counts)
    if failed:
        more = f"; not run: {', '.join(skipped)}" if skipped else ""
        return Failed(message=f"failed: {', '.join(failed)}{more}; {counts}")
    if cancelled:
        return Cancelled(message=f"cancelled: {', '.join(cancelled)}; {counts}")
    return Completed(message=counts)
