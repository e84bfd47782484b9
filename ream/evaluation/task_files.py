"""The task files of lm-eval and the local data that they name, read and checked without importing lm-eval."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ream.errors import UserError
from ream.machine.documents import read_yaml
from ream.machine.files import file_digest


class _Loader(yaml.SafeLoader):
    """Reads the tags of task files, such as ``!function``, as plain values: nothing is imported or executed."""


def _plain(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return None


_Loader.add_multi_constructor("", _plain)


def data_files(folder: Path) -> Iterator[tuple[Path, Path]]:
    """The local files and folders that the task files in a folder read their questions from.

    These are the values of ``dataset_path``, and of ``data_files`` and ``data_dir`` in ``dataset_kwargs``, that exist
    on this machine. lm-eval looks them up from the working directory.

    Args:
        folder: of task files; those in folders below it count, too.

    Yields:
        The task file, and the path that it names.

    Raises:
        UserError: see `read_yaml`.
    """
    for path, task in _tasks(folder):
        kwargs = task.get("dataset_kwargs")
        named = [task.get("dataset_path")]
        named += [kwargs.get("data_files"), kwargs.get("data_dir")] if isinstance(kwargs, dict) else []
        for value in named:
            yield from ((path, Path(text)) for text in _texts(value) if text and _exists(text))


def digest_of_tasks(folder: Path) -> str:
    """SHA-256 over all files in a folder of tasks, and over the local files that its task files name.

    Args:
        folder: of task files; may be missing.

    Raises:
        UserError: see `read_yaml`.
    """
    named = [path for _, path in data_files(folder)]
    digest = hashlib.sha256()
    for path in (*_files_in(folder), *(file for place in named for file in _files_in(place))):
        digest.update(f"{path}\0{file_digest(path)}\0".encode())
    return digest.hexdigest()


def check_task_files(folder: Path) -> None:
    """Refuse task files that lm-eval, which reads every one of a folder, would wait for or not end with.

    Args:
        folder: of task files; nothing is read where there is no such folder.

    Raises:
        UserError: a task file, or one that it includes, cannot be read (`read_yaml`), or includes itself.
    """
    for path, task in _tasks(folder):
        _check_includes(path, task, ())


def _check_includes(path: Path, task: dict[str, Any], above: tuple[Path, ...]) -> None:
    """Read what a task file includes, and what that includes."""
    if path.resolve() in above:
        raise UserError(f"{path} includes itself, through {above[-1]}; remove the include")
    for name in _texts(task.get("include")):
        included = path.parent / name
        inner = read_yaml(included, _Loader)
        _check_includes(included, inner if isinstance(inner, dict) else {}, (*above, path.resolve()))


def _files_in(path: Path) -> list[Path]:
    """A file itself; of a folder all files in it and below it, in order, without Python's compiled ones."""
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".pyc")


def _tasks(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The task files in a folder and below it, with their content."""
    for path in sorted(folder.rglob("*.yaml")):
        task = read_yaml(path, _Loader)
        if isinstance(task, dict):
            yield path, task


def _exists(name: str) -> bool:
    """Whether there is a file or folder of that name; a text that cannot be a name is none."""
    try:
        return Path(name).exists()
    except OSError:  # too long
        return False


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value, a list, or a table of lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
