"""`ream init`: a folder in which `dvc repro` runs the graph on one's own model."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ream.commands.local_text import local_sources
from ream.commands.options import ParamsFile
from ream.commands.output import say
from ream.commands.shipped import TASKS, shipped_params
from ream.errors import UserError
from ream.machine.shipped import package

if TYPE_CHECKING:
    from ream.models.family.sizes import Sizes
    from ream.params import Params

PUBLISHED = "data/published"  # report.published of all params files that come with ream
GRAPH, SETTINGS = "dvc.yaml", "params.yaml"
# In the repository DVC watches the code itself. A workspace runs the installed ream, so its stage `code` runs every
# time; what follows runs only if it finds another code or library.
WATCHES = "    deps: [ream, constraints.txt, artifacts/names.json]\n"
ASKS = "    deps: [artifacts/names.json]\n    always_changed: true # it takes a second; ream is not in this folder\n"
OWN = {
    ".dvc/config": "[core]\n    analytics = false\n    check_update = false\n    no_scm = true\n",
    ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
    ".dvcignore": "# what a killed stage leaves of a file that it was writing\n.*.tmp\n",
    ".gitignore": "/artifacts/\n/models/\n/reports/\n/dvc_plots/\n",
}
COPIED = {TASKS: "tasks", PUBLISHED: "published", ".dvc/plots": "plots"}


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to make, or with --update a workspace; its files stay.")],
    model: Annotated[str, typer.Option(help="The model to compress: a hub id or a folder.")],
    experts: Annotated[
        list[int] | None,
        typer.Option(min=1, help="K, experts to keep; repeatable [default: three quarters of them, and half]."),
    ] = None,
    params: ParamsFile = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write params.yaml of the workspace anew, after a change of --params.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --update: replace a params.yaml that was changed by hand.")
    ] = False,
) -> None:
    """Make a workspace for a model: its graph, settings and tasks, ready for `dvc repro`.

    With --params, its methods, mixes and suites are those of that file or preset; local text of its sources is named by
    whole paths, and watched. After a change of that file the same command with --update takes it into the workspace;
    `dvc repro` then runs what the change touches.
    """
    if force and not update:
        raise UserError("--force goes with --update; without it ream init replaces no file")
    if update:
        update_workspace(folder, model, experts or [], params, force, say)
    else:
        make_workspace(folder, model, experts or [], params, say)


def make_workspace(
    folder: Path, model: str, experts: list[int], params: Path | None, say: Callable[[str], None]
) -> None:
    """Write dvc.yaml, params.yaml, tasks, published numbers and DVC's settings into a folder.

    Args:
        folder: new, or without any of these files.
        model: hub id or folder; its config and headers are read.
        experts: numbers of experts to keep; empty for three quarters and half of them.
        params: params file or preset whose settings are taken; None for the shipped ones on one mix and two methods.
        say: prints a line.

    Raises:
        UserError: a file is there already, the model cannot be compressed, or does not fit the settings.
    """
    from ream.machine.documents import read_text

    for name in (GRAPH, SETTINGS, *OWN, *COPIED):
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists; name a folder without it, or remove it")
    settings = _checked_settings(folder, model, experts, params)
    graph = read_text(package() / "shipped" / "graph.yaml")
    if graph.count(WATCHES) != 1:
        raise RuntimeError("the stage `code` of the shipped dvc.yaml is not as ream init expects it")
    for name, text in OWN.items():
        _write(folder / name, text)
    for name, source in COPIED.items():
        shutil.copytree(package() / "shipped" / source, folder / name)
    _write(folder / GRAPH, graph.replace(WATCHES, ASKS))
    _write(folder / SETTINGS, settings)
    say(f"{folder}: the graph of {model}, ready for `dvc repro` there; its settings are in {folder / SETTINGS}")


def update_workspace(
    folder: Path, model: str, experts: list[int], params: Path | None, force: bool, say: Callable[[str], None]
) -> None:
    """Write the params.yaml of a workspace anew and nothing else.

    Args:
        folder: that `make_workspace` made.
        model: hub id or folder.
        experts: numbers of experts to keep; empty for three quarters and half of them.
        params: params file or preset whose settings are taken; None for the shipped ones on one mix and two methods.
        force: replace a params.yaml that was changed since a command wrote it.
        say: prints a line.

    Raises:
        UserError: it is no workspace, params.yaml was changed, or see `make_workspace`.
    """
    from ream.machine.documents import read_text
    from ream.machine.files import replacing
    from ream.params.written_out import unchanged

    place = folder / SETTINGS
    if not (folder / GRAPH).exists() or not place.exists():
        raise UserError(f"{folder} is no workspace: it lacks {GRAPH} or {SETTINGS}; make one without --update")
    before = read_text(place)
    if not force and not unchanged(before, "ream init"):
        raise UserError(
            f"{place} was changed since ream wrote it; bring the changes into the file of --params, or drop them with "
            "--force"
        )
    settings = _checked_settings(folder, model, experts, params)
    if settings.partition("\n")[2] == before.partition("\n")[2]:
        say(f"{place}: as before")
        return
    with replacing(place) as temporary:
        temporary.write_text(settings, encoding="utf-8")
    say(f"{place}: written anew; `dvc repro` there runs what the change touches")


def _checked_settings(folder: Path, model: str, experts: list[int], params: Path | None) -> str:
    """The params.yaml of a workspace, which says what wrote it; the arguments are those of `make_workspace`."""
    from ream.machine.documents import parse_yaml
    from ream.models.inspection.headers import open_headers
    from ream.params import load_params, parse_params
    from ream.params.written_out import marked
    from ream.stages.check import check_sizes

    path = shipped_params(params)
    base = load_params(path)
    sizes = open_headers(model, base.model.multi_token, base.model.trust_remote_code).architecture
    settings = _settings(path, base, model, sizes, experts, params is None)
    check_sizes(parse_params(parse_yaml(settings, str(path)), str(path)), sizes)
    command = ["ream", "init", str(folder), "--model", model]
    command += [part for count in experts for part in ("--experts", str(count))]
    command += [] if params is None else ["--params", str(params)]
    advice = "change this file" if params is None else f"change {params} and run it again"
    return marked(settings, shlex.join([*command, "--update"]), advice)


def _settings(path: Path, base: "Params", model: str, sizes: "Sizes", experts: list[int], short: bool) -> str:
    """The text of a params file with its comments, changed to be of a model.

    Args:
        path: the params file.
        base: what it says.
        model: hub id or folder; a folder is named by its whole path, and DVC watches it, as it does local text.
        sizes: of the model.
        experts: numbers of experts to keep; empty for the defaults.
        short: whether to run one mix and two methods only, on all cores.
    """
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    from ream.params.written_out import written_out

    tree: Any = parse_yaml_for_update(written_out(path), path)
    for section in ("model", "grouping", "run", "compute"):
        tree.setdefault(section, {})
    kept, local = experts or _halves(sizes), Path(model).is_dir()
    tree["model"]["path"] = str(Path(model).resolve()) if local else model
    fields, texts = local_sources(base)
    for name, changed in fields.items():
        tree["sources"][name] |= changed
    watched = {name: value for name, value in base.local.items() if name != "model"} | texts
    tree["local"] = (
        watched | {"tasks": TASKS, "published": PUBLISHED} | ({"model": tree["model"]["path"]} if local else {})
    )
    # C, as in the presets: two groups could absorb all removed experts
    tree["grouping"]["group_size"] = {count: max(1, -(-(sizes.experts - count) // min(2, count))) for count in kept}
    mixes, methods = base.run.mixes, [*base.run.sequential, *base.run.one_shot]
    if short:
        mixes, methods = ["balanced"], ["ream", "reap"]
        tree["compute"]["threads"] = "auto"
        tree.get("statistics", {}).pop("sequences", None)  # the demo's, where mixes are to be explored
        tree["run"] |= {"mixes": mixes, "one_shot": ["reap"], "sequential": ["ream"], "rank": mixes}
        tree["run"]["extra"] = {"mixes": [], "one_shot": [], "sequential": []}
    tree["run"]["experts"] = kept
    tree["exports"] = {
        f"{method}-{count}": {"mix": mix, "method": method, "experts": count}
        for mix, method, count in zip(mixes[:1], methods[:1], kept[:1], strict=True)
    }
    return str(dumps_yaml(tree))


def _halves(sizes: "Sizes") -> list[int]:
    """Three quarters and half of the experts, in whole router groups, but no fewer than a token uses."""
    groups = sizes.router_groups
    wanted = [sizes.experts * quarters // 4 // groups * groups for quarters in (3, 2)]
    return [count for count in wanted if count >= max(sizes.top_k, groups)] or [sizes.experts]


def _write(path: Path, text: str) -> None:
    """Write a file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
