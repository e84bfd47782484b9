"""Own text of a params file, as a workspace in another folder names and watches it."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ream.params import Params


def local_sources(params: "Params") -> tuple[dict[str, dict[str, object]], dict[str, str]]:
    """The sources of files, tokens and local data sets that a run reads, with whole paths, and what DVC is to watch.

    Args:
        params: whose relative paths are seen from the working directory, as in all commands.

    Returns:
        name of a source to the fields with its paths, and name of an entry of the section local to its path.
    """
    from ream.params import FilesSource, HubSource, TokensSource

    fields: dict[str, dict[str, object]] = {}
    watched: dict[str, str] = {}
    for name in dict.fromkeys([*params.run.sources, *params.suites[params.evaluation.suite].loss]):
        source = params.sources.get(name)
        if isinstance(source, FilesSource):
            paths = [_whole(path) for path in source.paths]
            fields[name] = {"paths": paths}
        elif isinstance(source, TokensSource):
            paths = [_whole(source.path)]
            fields[name] = {"path": paths[0]}
        elif isinstance(source, HubSource) and Path(source.dataset).is_dir():
            paths = [_whole(source.dataset)]
            fields[name] = {"dataset": paths[0]}
        else:
            continue
        roots = list(dict.fromkeys(map(_root, paths)))
        watched |= {name if number == 1 else f"{name}-{number}": root for number, root in enumerate(roots, start=1)}
    return fields, watched


def _whole(path: str) -> str:
    """A path or pattern from the root."""
    return str(Path(path).expanduser().absolute())


def _root(path: str) -> str:
    """The path itself, or the folder above the first part with a pattern's signs."""
    parts = Path(path).parts
    plain = next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(Path(*parts[:plain]))
