"""Stage inputs: which of the watched local files each source, the model, the tasks and the report read.

DVC watches the paths of the section local. This stage gives each kind of use a file of its own with the hashes of what
it reads, so that a changed text makes the calibration of its source run again and nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ream.calibration.installation import installed
from ream.calibration.local_files import matched
from ream.errors import UserError
from ream.evaluation.task_files import data_files
from ream.machine.files import building, read_json, write_json
from ream.models.storage.hub import COMPANIONS
from ream.params import BuiltinSource, FilesSource, HubSource, Params, TokensSource
from ream.workspace.layout import MODEL, REPORT, TASKS, TEXT, Workspace
from ream.workspace.options import StageOptions

OF_A_MODEL = (*COMPANIONS, "*.safetensors")  # the files of a model's folder that results depend on
Digests = dict[str, str]  # path as the settings name it to SHA-256


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write, for each use of local files, their paths and hashes.

    Raises:
        UserError: a setting names a local file that no entry of the section local covers, or that is missing.
    """
    watched = Watched.of(params, workspace)
    text = {"installation": installed()}
    uses: dict[str, dict[str, Any]] = {
        workspace.input(MODEL).name: {"files": _model(params, watched)},
        workspace.input(TASKS).name: {"files": _tasks(params, watched)},
        workspace.input(REPORT).name: {"files": _report(params, watched)},
        workspace.input(TEXT).name: {"files": _measured(params, watched), **text},
    }
    for source in params.run.sources:
        builtin = isinstance(params.sources[source], BuiltinSource)
        path = workspace.source_input(source).relative_to(workspace.inputs)
        uses[str(path)] = {"files": _source(params, source, watched), **(text if builtin else {})}
    with building(workspace.inputs) as folder:
        for name, use in uses.items():
            write_json(folder / name, use)
    files = {file for use in uses.values() for file in use["files"]}
    return f"{len(files)} local files are read, all of them watched"


@dataclass(frozen=True)
class Watched:
    """The files that DVC watches.

    Attributes:
        roots: the paths of the section local, absolute.
        digests: absolute path of each file at or below them to its SHA-256.
    """

    roots: list[Path]
    digests: dict[Path, str]

    @classmethod
    def of(cls, params: Params, workspace: Workspace) -> "Watched":
        """Read what the stage watch has written for every entry of the section local."""
        listed = [read_json(workspace.watched(name)) for name in params.local]
        digests = {Path(path).absolute(): digest for files in listed for path, digest in files.items()}
        return cls([Path(path).absolute() for path in params.local.values()], digests)

    def below(self, setting: str, path: Path) -> Digests:
        """The files at a path or below it.

        Args:
            setting: that names the path, for errors.
            path: a file or a folder.

        Raises:
            UserError: there is nothing at the path, or no entry of the section local covers it.
        """
        whole = path.absolute()
        if not path.exists():
            raise UserError(f"{setting}: {path} does not exist; correct the path")
        if not any(whole.is_relative_to(root) for root in self.roots):
            name = path.stem or "name"
            raise UserError(
                f"{setting}: {path} is not watched, so a change of it would go unnoticed; add it, or a folder above "
                f"it, to the section local of params.yaml, as in {name}: {path}"
            )
        found = {
            (path / file.relative_to(whole)).as_posix(): digest
            for file, digest in self.digests.items()
            if file.is_relative_to(whole)
        }
        if not found and path.is_file():
            raise UserError(f"{setting}: {path} has appeared since the stage watch ran; run `dvc repro` again")
        return found


def _model(params: Params, watched: Watched) -> Digests:
    """The files of a local model that results depend on; none of a hub model, whose commit stands for them."""
    folder = Path(params.model.path)
    if not folder.is_dir():
        return {}
    files = watched.below("model.path", folder)
    names = {name: Path(name).relative_to(folder).as_posix() for name in files}
    return {names[name]: files[name] for name in files if any(fnmatch(names[name], kind) for kind in OF_A_MODEL)}


def _measured(params: Params, watched: Watched) -> Digests:
    """The local files of own text on which the suite measures the loss."""
    loss = params.suites[params.evaluation.suite].loss
    own = [name for name in loss if not isinstance(params.loss_source(name), BuiltinSource)]
    return {file: digest for name in own for file, digest in _source(params, name, watched).items()}


def _source(params: Params, name: str, watched: Watched) -> Digests:
    """The local files of a calibration source; none of built-in text and of a hub data set."""
    return {
        file: digest for path in _paths(params, name) for file, digest in watched.below(f"sources.{name}", path).items()
    }


def _paths(params: Params, name: str) -> Iterator[Path]:
    """The local paths that a calibration source reads."""
    source = params.sources[name]
    if isinstance(source, FilesSource):
        yield from matched(source.paths)
    elif isinstance(source, TokensSource):
        yield Path(source.path)
    elif isinstance(source, HubSource) and Path(source.dataset).exists():  # `datasets` reads a folder by that name
        yield Path(source.dataset)


def _tasks(params: Params, watched: Watched) -> Digests:
    """The files of the folder of tasks, and the local data that they name."""
    folder = Path(params.evaluation.include)
    if not folder.is_dir():
        return {}
    files = watched.below("evaluation.include", folder)
    for task, path in data_files(folder):
        files |= watched.below(f"{task}: data_files", path)
    return files


def _report(params: Params, watched: Watched) -> Digests:
    """The published numbers and the imported results."""
    paths = {f"imports.{name}": entry.path for name, entry in params.imports.items()}
    if params.report.published is not None:
        paths["report.published"] = params.report.published
    return {
        file: digest for setting, path in paths.items() for file, digest in watched.below(setting, Path(path)).items()
    }
