"""`ream search`: mixes of calibration sources on the front of several objectives, found instead of guessed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ream.commands.adopting import adopt, check_adoptable
from ream.commands.configuring import configured, with_section
from ream.commands.options import (
    Device,
    Experts,
    GroupSize,
    Method,
    ModelArgument,
    ParamsFile,
    Sequences,
    Settings,
    Text,
    Tokens,
)
from ream.commands.output import say
from ream.commands.request import DEFAULT_GROUP_SIZE
from ream.commands.shipped import TASKS, params_file, task_folder
from ream.commands.texts import text_sources
from ream.errors import UserError
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

if TYPE_CHECKING:
    from ream.params import Params
    from ream.search.records import SearchRecord

DECIDED = {
    "model.path": "the argument MODEL sets it",
    "run": "--method, --experts and --sources set it",
    "exports": "it belongs to the graph of dvc.yaml",
}


def search(
    model: ModelArgument,
    experts: Experts,
    method: Method = "reap",
    objectives: Annotated[
        str | None,
        typer.Option(help="Sources, mc, gen or tasks of the suite, such as general,code [default: all sources]."),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Mixes to try [default: search.trials].")] = None,
    sources: Annotated[str | None, typer.Option(help="Sources to mix [default: run.sources].")] = None,
    text: Text = None,
    target: Annotated[
        str | None, typer.Option(help="One answer for these weights of objectives: '0.7 code + 0.3 general'.")
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Write the mixes found into the params file, under `mixes`.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for trials, front, figures and recipes.")] = Path("search"),
    workers: Annotated[int | None, typer.Option(min=1, help="Processes [default: search.workers].")] = None,
    group_size: GroupSize = None,
    sequences: Sequences = None,
    tokens: Tokens = None,
    device: Device = None,
    settings: Settings = None,
    params: ParamsFile = None,
) -> None:
    """Find mixes of calibration sources for a method and a size.

    The statistics of every source are collected once; a mix then costs no pass over the model, and what it is worth
    one, which several mixes share. The paper's mixes come first. To go on after an interruption, or with more trials,
    give the same command again.
    """
    path = params_file(params)
    if adopt:
        check_adoptable(path, params)
    options = {
        "search.objectives": ("--objectives", None if objectives is None else _names(objectives, "--objectives")),
        "search.trials": ("--trials", trials),
        "search.target": ("--target", target),
        "search.workers": ("--workers", workers),
        "calibration.sequences": ("--sequences", sequences),
        "calibration.tokens": ("--tokens", tokens),
        "compute.device": ("--device", device),
    }
    own = text_sources(text or ())
    tree, base = configured(path, tuple(settings or ()), options, DECIDED)
    mixed = base.run.sources if sources is None else _names(sources, "--sources")
    tree = _of_search(tree, base, model, method, experts, group_size, mixed, own)
    search_mixes(_parsed(tree, path), method, experts, out, (path, own) if adopt else None, say)


def _of_search(
    tree: dict[str, Any],
    base: "Params",
    model: str,
    method: str,
    experts: int,
    group_size: int | None,
    sources: list[str],
    own: dict[str, Any],
) -> dict[str, Any]:
    """The tree of settings with one search in place of the run.

    Raises:
        UserError: own text is called as a source of the params file.
    """
    if twice := [name for name in own if name in tree["sources"]]:
        raise UserError(f"--text: the params file has a source '{twice[0]}' already; name yours, as in PATH=NAME")
    table = base.grouping.group_size
    size = group_size or (table if isinstance(table, int) else table.get(experts, DEFAULT_GROUP_SIZE))
    run = {"sources": [*sources, *own], "experts": [experts], "search": [method]}
    run |= {"mixes": [], "one_shot": [], "sequential": []}
    changed = tree | {
        "exports": {},
        "grouping": {"group_size": size},
        "sources": {**tree["sources"], **own},
        "run": run,
    }
    changed = with_section(changed, "model", {"path": model})
    return with_section(changed, "evaluation", {"include": task_folder(tree["evaluation"].get("include", TASKS))})


def search_mixes(
    params: "Params",
    method: str,
    experts: int,
    out: Path,
    adopted: tuple[Path, dict[str, Any]] | None,
    say: Callable[[str], None],
) -> "SearchRecord":
    """Search, write the results into a folder, and print the front.

    Args:
        params: all settings; ``run`` has the sources, the method and the number of experts.
        method: name of the method.
        experts: K.
        out: folder for the results; beside it lies what is needed to go on.
        adopted: params file that takes the mixes, and its sources of own text; None for none.
        say: prints a line.

    Raises:
        UserError: the sizes do not fit the model, the folder holds something else, or what the stages refuse.
    """
    from ream.commands.ending import GOES_ON, noting
    from ream.machine.files import building, locked
    from ream.search.records import FOUND, read_record
    from ream.stages.check import check_sizes
    from ream.workspace.original import admitted

    if out.exists() and not (out / FOUND).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds something else than a search; name another folder with --out")
    check_sizes(params, admitted(params.model, params.model.multi_token).architecture)
    workspace = Workspace(out.absolute().with_name(f".{out.name}.ream"))
    with locked(workspace.root), noting(GOES_ON):
        _run(params, workspace, method, experts, say)
        found = workspace.search(method, experts)
        record = read_record(found / FOUND)
        with building(out) as folder:
            _copied(found, folder)
    for line in table(record):
        say(line)
    if adopted is not None:
        path, own = adopted
        say(f"{path}: mixes {', '.join(adopt(path, record, own))}; name them in run.mixes to take them into the graph")
    say(f"results: {out}; for more trials, give a larger --trials; {workspace.root} holds what that needs")
    return record


def _run(params: "Params", workspace: Workspace, method: str, experts: int, say: Callable[[str], None]) -> None:
    """The stages from the model to the search."""
    from ream.stages import calibration, items, model, search, statistics
    from ream.workspace.codes import fingerprint_of, identity

    search.check(params)
    code = identity(fingerprint_of("calibration", "statistics", "search"))
    options = StageOptions(method=method, experts=experts, code=code, discard_stale=False, keep_state=True)
    say(model.run(params, workspace, options))
    for source in params.run.sources:
        say(calibration.run(params, workspace, StageOptions(source=source)))
    relative = params.model_copy(update={"methods": {**params.methods, method: params.method(method).one_shot()}})
    for line in statistics.run_sources(relative, workspace, params.run.sources, options):
        say(line)
    if any(name not in params.run.sources for name in params.search.names(params.run.sources)):
        say(items.run(params, workspace, options))
    say(search.run(params, workspace, options))


def _parsed(tree: dict[str, Any], path: Path) -> "Params":
    from ream.params import parse_params

    return parse_params(tree, f"{path} with the options given")


def _copied(found: Path, folder: Path) -> None:
    import shutil

    shutil.copytree(found, folder, dirs_exist_ok=True)


def _names(text: str, option: str) -> list[str]:
    """The names of a list with commas.

    Raises:
        UserError: one of them is empty or there twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise UserError(f"{option}: '{text}' is not a list of different names, such as general,code")
    return names


def table(record: "SearchRecord") -> list[str]:
    """The lines of a table of the front, and the answer to a target."""
    head = ["mix", *record.sources, *record.objectives, *record.tasks]
    rows = [head]
    for mix in record.front:
        measured = mix.made or mix.final
        values = [
            f"{measured[name].value:.3f}" if name in measured else f"{mix.search[name]:.3f}"
            for name in record.objectives
        ]
        shares = [f"{mix.ratios[source]:g}" for source in record.sources]
        rows.append([mix.name, *shares, *values, *(f"{mix.scores[name]:.1f}" for name in record.tasks)])
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append(f"objectives: {record.measure} in nats per token on text that the search has not seen")
    if (target := record.target) is not None:
        weights = " + ".join(f"{weight:g} {name}" for name, weight in target.weights.items())
        line = f"for {weights}: {target.mix}, {target.search:.3f} by the search"
        if target.final is not None:
            line += f", {target.final.value:.3f} on unseen text"
            if target.final.low is not None and target.final.high is not None:
                line += f" (95% interval {target.final.low:.3f} to {target.final.high:.3f})"
        lines.append(line)
    return lines
