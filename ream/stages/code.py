"""Stage code: a fingerprint of the code that each kind of stage can execute, and of the libraries that it uses."""

from pathlib import Path

from ream.errors import UserError
from ream.machine.files import building, file_digest, write_json
from ream.params import Params
from ream.workspace.codes import PACKAGE, fingerprints
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

WATCHED = Path("ream")  # the sources that dvc.yaml names


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write one file a kind of stage. Comments, docstrings and annotations of functions change none of them.

    Raises:
        UserError: the ream that runs is not the one that DVC watches, nor equal to it.
    """
    if WATCHED.is_dir() and WATCHED.resolve() != PACKAGE.resolve() and _sources(WATCHED) != _sources(PACKAGE):
        raise UserError(
            f"this is the ream of {PACKAGE.resolve()}, but DVC watches {WATCHED.resolve()}; install that one: "
            "pip install -e ."
        )
    found = fingerprints()
    with building(workspace.codes) as folder:
        for kind, fingerprint in found.items():
            write_json(folder / workspace.code(kind).name, fingerprint)
    units = {unit for fingerprint in found.values() for unit in fingerprint["units"]}
    return f"the code of {len(found)} kinds of stages: {len(units)} definitions"


def _sources(package: Path) -> dict[Path, str]:
    """The files of a package and their hashes, but compiled ones and those to which the repository has links."""
    files = (path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc")
    linked = {package / "params" / "default.yaml", package / "shipped"}
    return {path.relative_to(package): file_digest(path) for path in files if not linked & {path, *path.parents}}
