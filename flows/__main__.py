"""`python -m flows`: run the graph here, or serve it with a UI."""

import atexit
import os
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from flows.server import Server
from flows.settings import HOST, PORT, change_params, check_server, parse_assignments, prepare, repository
from ream.commands.cli import main
from ream.errors import UserError

app = typer.Typer(
    help="Run the graph of dvc.yaml with Prefect.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

LOOPBACK = frozenset({HOST, "localhost", "::1"})
Assignments = Annotated[
    list[str] | None, typer.Option("--set-param", "-S", help="NAME=VALUE in params.yaml; may be given several times.")
]


@app.command()
def run(
    targets: Annotated[list[str] | None, typer.Argument(help="Stages or kinds of stages [default: all].")] = None,
    set_param: Assignments = None,
    workers: Annotated[int, typer.Option(min=1, help="Stages at once.")] = 2,
    models: Annotated[int | None, typer.Option(min=1, help="Stages at once that hold the model.")] = None,
    shards: Annotated[int, typer.Option(min=1, help="Parts of each source's statistics, made at once.")] = 1,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler whose workers run the stages.")] = None,
    clones: Annotated[bool, typer.Option(help="With --dask: each worker runs in a clone of its own.")] = False,
) -> None:
    """Bring the graph up to date. Progress is in the UI of PREFECT_API_URL, else Prefect starts a server for itself."""
    root = repository()
    prepare(root)
    check_server()
    if dask is not None:
        check_dask(dask)
    values = parse_assignments(set_param or [])
    if values:
        change_params(root / "params.yaml", values)
    server = None if os.environ.get("PREFECT_API_URL") else Server(root, light=True)
    if server is not None:
        atexit.register(server.stop)  # before Prefect's own, and so after them: they send what is not sent yet
        os.environ["PREFECT_API_URL"] = server.api
    from flows.graph import read_graph, select  # the server starts meanwhile

    select(read_graph(root), targets or [])
    from flows.pipeline import check_request, pipeline

    check_request(root, workers, models, shards, clones)
    flow = pipeline if dask is None else pipeline.with_options(task_runner=dask_runner(dask))
    if server is not None:
        server.ready()
        typer.echo(f"to be watched at {server.address} while it runs")
    state = flow(targets or [], {}, workers, models, shards, clones, return_state=True)
    if state.is_completed():
        typer.echo(f"{state.message}; results: {root / 'reports' / 'index.html'}")
        return
    typer.echo(f"error: {state.message}", err=True)
    raise typer.Exit(1)


@app.command()
def ui(port: Annotated[int, typer.Option(help="Of the server, on this machine alone.")] = PORT) -> None:
    """Start a Prefect server and serve the graph there: to be started with parameters, and watched, in a browser."""
    root = repository()
    prepare(root)
    from flows.ui import serve

    serve(root, port, typer.echo)


def check_dask(address: str) -> None:
    """Refuse to send stages where they can't report to the server that a flow starts for itself.

    Raises:
        UserError: says what to start and to set.
    """
    if not os.environ.get("PREFECT_API_URL") and urlsplit(address).hostname not in LOOPBACK:
        raise UserError(
            f"the workers of {address} can't reach a server on {HOST}; start one that they reach (prefect server start "
            "--host NAME) and set PREFECT_API_URL to its address here and there"
        )


def dask_runner(address: str) -> Any:
    """A task runner that hands stages to a Dask scheduler.

    Raises:
        UserError: prefect-dask is not installed, or nobody answers at the address.
    """
    try:
        from distributed import Client
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise UserError("--dask needs prefect-dask; pip install 'ream[dask]'") from None
    try:
        Client(address, timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`") from None
    return DaskTaskRunner(address=address)


if __name__ == "__main__":
    main(app)
