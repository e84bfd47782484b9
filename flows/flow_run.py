"""The Prefect flow run that this code is part of: its id, the Dask cluster that runs its tasks, its end."""

from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from flows.processes import end_processes


def flow_run_id() -> UUID:
    """The id of the current flow run."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run.id


def flow_run_name() -> str:
    """The name of the current flow run."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run.name


def on_dask() -> bool:
    """Whether the tasks of the current flow run go to a Dask cluster."""
    return dask_client() is not None


def dask_client() -> Any:
    """The client of the Dask cluster that runs the current flow run's tasks; None where they are threads."""
    context = FlowRunContext.get()
    return None if context is None else getattr(context.task_runner, "client", None)


def end_everywhere(flow_run: str) -> None:
    """Stop all processes of a flow run, in this process and in all Dask workers.

    Args:
        flow_run: its id.
    """
    end_processes(flow_run)
    client = dask_client()
    if client is not None:
        client.run(end_processes, flow_run, on_error="ignore")  # a worker that is gone has nothing to stop


def show_state(state: State) -> None:
    """Show the current flow run in another state of running, with its message."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id(), state, force=True)


def set_tag_limit(tag: str, limit: int) -> None:
    """Set how many tasks with a tag the server runs at once, over all flow runs."""
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(f"tag:{tag}", limit)
