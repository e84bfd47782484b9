"""Settings that a run cannot change: those that execute code, and paths outside of the workspace.

The parameters of a run come over the network: whoever reaches Prefect's server can start one. So what may run code of a
stranger, or read files of this machine, is set by hand in params.yaml.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ream.errors import UserError
from ream.params import FilesSource, HubSource, Params, TokensSource

PATTERN = re.compile(r"[*?\[]")  # begins the part of a path that is a glob pattern
BY_HAND = "edit params.yaml by hand"


def check_run_settings(before: Params, after: Params, root: Path) -> None:
    """Refuse new settings that a run cannot have.

    Args:
        before: the settings of params.yaml.
        after: the settings with the run's changes.
        root: the workspace, from which relative paths are taken.

    Raises:
        UserError: names the first of the settings that cannot be changed.
    """
    executes = {
        "model.trust_remote_code": (before.model.trust_remote_code, after.model.trust_remote_code),
        "evaluation.allow_code_execution": (
            before.evaluation.allow_code_execution,
            after.evaluation.allow_code_execution,
        ),
    }
    for name, (old, new) in executes.items():
        if new and not old:
            raise UserError(f"{name}: a run cannot allow that code is executed; {BY_HAND}")
        if new and after.model.path != before.model.path:
            raise UserError(f"model.path: {name} is true, which a run cannot extend to another model; {BY_HAND}")
    if after.evaluation.include != before.evaluation.include:
        raise UserError(f"evaluation.include: a run cannot change it, because task files execute code; {BY_HAND}")
    known = {path for _, path in _paths(before)}
    for name, path in _paths(after):
        if path not in known and not _inside(path, root):
            raise UserError(f"{name}: a run cannot name {path}, which is outside of {root}; {BY_HAND}")


def _paths(params: Params) -> Iterator[tuple[str, str]]:
    """Names and values of all settings that are, or may be, paths on this machine."""
    yield "model.path", params.model.path
    yield "evaluation.include", params.evaluation.include
    if params.report.published is not None:
        yield "report.published", params.report.published
    yield from _of_table("local", params.local)
    yield from _of_table("imports", {name: entry.path for name, entry in params.imports.items()})
    for name, source in params.sources.items():
        if isinstance(source, FilesSource):
            yield from ((f"sources.{name}", path) for path in source.paths)
        elif isinstance(source, TokensSource):
            yield f"sources.{name}", source.path
        elif isinstance(source, HubSource):
            yield f"sources.{name}", source.dataset


def _of_table(section: str, paths: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((f"{section}.{name}", path) for name, path in paths.items())


def _inside(path: str, root: Path) -> bool:
    """Whether a path, or the part of a pattern before its first wildcard, leads into the workspace.

    A hub id (``owner/name``) does, too, where there is no folder of that name.
    """
    if path.startswith("~") or ".." in Path(path).parts:
        return False
    fixed = PATTERN.split(path)[0]
    return (root / fixed).resolve().is_relative_to(root.resolve())
