"""`python -m flows`: run the graph here, or serve it with a UI."""

import atexit
import os
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from flows.checked_params import check_params
from flows.params_file import change_params, parse_assignments
from flows.run_name import run_name
from flows.server import Server
from flows.settings import HOST, PORT, check_server, prepare, repository
from flows.turns import turn
from ream.commands.cli import main
from ream.errors import UserError
from ream.machine.files import replacing

app = typer.Typer(
    help="Run the graph of dvc.yaml with Prefect.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

LOOPBACK = frozenset({HOST, "localhost", "::1"})
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set-param", "-S", help="NAME=VALUE to set in params.yaml first; repeatable."),
]


@app.command()
def run(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Stages, or kinds of stages, to run.", show_default="all")
    ] = None,
    set_param: Assignments = None,
    workers: Annotated[int, typer.Option(min=1, help="How many stages run at once.")] = 2,
    models: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many of these may hold the model in memory.",
            show_default="one per GPU, or as memory allows",
        ),
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, help="Number of parts that run at once for the statistics of a source.")
    ] = 1,
    dask: Annotated[str | None, typer.Option(help="Address of a Dask scheduler whose workers run the stages.")] = None,
    clones: Annotated[
        bool, typer.Option(help="With --dask: every worker has its own clone of the repository.")
    ] = False,
) -> None:
    """Bring the graph up to date; watch it on the server of PREFECT_API_URL, or on one that is started for this run."""
    root = repository()
    prepare(root)
    check_server()
    if dask is not None:
        check_dask(dask)
    values = parse_assignments(set_param or [])
    name = run_name(targets or [], values)
    with turn(root, name, typer.echo):
        _run(root, targets or [], values, name, workers, models, shards, dask, clones)


def _run(
    root: Path, targets: list[str], values: dict[str, Any], name: str, workers: int, models: int | None, shards: int,
    dask: str | None, clones: bool,
) -> None:  # fmt: skip
    """Run the graph in this workspace, which is this run's; the arguments are those of `run`.

    Raises:
        UserError: params.yaml, the targets or the request is wrong.
        Exit: the run did not complete.
    """
    if values:
        change_params(root / "params.yaml", values)
    check_params(root)
    server = None if os.environ.get("PREFECT_API_URL") else Server(root, light=True)
    if server is not None:
        typer.echo("starting a Prefect server for this run and reading the graph (the first start takes longest)")
        # Registered before Prefect's own handlers, and so called after them: they still send to the server.
        atexit.register(server.stop)
        os.environ["PREFECT_API_URL"] = server.api
    from flows.request import check_request  # imported here because the server starts meanwhile

    check_request(root, workers, models, shards, clones)
    if dask is None:
        _look_ahead(root, targets)
    else:
        from flows.graph import read_graph, select

        select(read_graph(root), targets)
    from flows.pipeline import pipeline

    flow = pipeline.with_options(flow_run_name=lambda: name)
    if dask is not None:
        flow = flow.with_options(task_runner=dask_runner(dask))
    if server is not None:
        server.ready()
        typer.echo(f"watch it at {server.address} while it runs")
    state = flow(targets, {}, workers, models, shards, clones, return_state=True)
    if state.is_completed():
        report = root / "reports" / "index.html"  # not there where only some targets were run
        typer.echo(f"{state.message}; results: {report}" if report.exists() else str(state.message))
        return
    typer.echo(f"error: {state.message}", err=True)
    raise typer.Exit(1)


def _look_ahead(root: Path, targets: list[str]) -> None:
    """Ask DVC what is outdated, and start the process of the imports if anything is, before Prefect is imported here.

    Raises:
        UserError: the graph or a target is wrong, or the stage code fails.
    """
    from flows.compared_code import compare_code
    from flows.outdated import look_ahead
    from flows.processes import warm_up

    found = look_ahead(root, targets, typer.echo)
    if found:
        warm_up()
    if compare_code(root) and not found and look_ahead(root, targets, typer.echo):
        warm_up()


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port of the server; only this machine can reach it.")] = PORT) -> None:
    """Start a Prefect server, where the graph can be started with parameters and watched in a browser."""
    root = repository()
    prepare(root)
    from flows.ui import serve

    serve(root, port, typer.echo)


@app.command()
def graph(
    into: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Page to put it into, between the two marks there."),
    ] = None,
) -> None:
    """Draw the kinds of stages of dvc.yaml as a Mermaid diagram."""
    from flows.diagram import diagram, put_into

    made = diagram(repository())
    if into is None:
        typer.echo(made)
        return
    text = put_into(into.read_text(encoding="utf-8"), made, str(into))
    with replacing(into) as temporary:
        temporary.write_text(text, encoding="utf-8")


@app.command()
def tidy(
    files: Annotated[list[Path] | None, typer.Argument(help="Params files.", show_default="params.yaml")] = None,
) -> None:
    """Rewrite params files so that `dvc exp run -S` and `run -S` change one line of them and keep all comments."""
    from flows import params_form

    root = repository()
    for path in files or [root / "params.yaml"]:
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise UserError(f"{path} does not exist; name a params file, or none for params.yaml") from None
        tidied = params_form.tidy(text, str(path))
        if tidied != text:
            with replacing(path) as temporary:
                temporary.write_text(tidied, encoding="utf-8")
        typer.echo(f"{path}: {'in form' if tidied == text else 'rewritten'}")


def check_dask(address: str) -> None:
    """Refuse remote workers that cannot reach the server that the flow would start for itself.

    Args:
        address: of the Dask scheduler, such as tcp://HOST:8786.

    Raises:
        UserError: the scheduler is on another machine and PREFECT_API_URL is not set.
    """
    if not os.environ.get("PREFECT_API_URL") and urlsplit(address).hostname not in LOOPBACK:
        raise UserError(
            f"the workers of {address} can't reach a server on {HOST}; start one that they can reach (prefect server "
            "start --host NAME) and set PREFECT_API_URL to its address, here and for the workers"
        )


def dask_runner(address: str) -> Any:
    """A Prefect task runner that hands stages to a Dask scheduler.

    Args:
        address: of the scheduler.

    Raises:
        UserError: prefect-dask is not installed, or no scheduler answers at the address.
    """
    try:
        from distributed import Client
        from prefect_dask.task_runners import DaskTaskRunner
    except ImportError:
        raise UserError("--dask needs prefect-dask; pip install 'ream[dask]'") from None
    try:
        Client(address, timeout=10).close()
    except (OSError, ValueError) as error:
        raise UserError(f"no Dask scheduler answers at {address} ({error}); start one with `dask scheduler`") from None
    return DaskTaskRunner(address=address)


if __name__ == "__main__":
    main(app)
