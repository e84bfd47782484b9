"""Local data that the task files of lm-eval name, read without importing lm-eval."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ream.machine.documents import read_yaml


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
    for path in sorted(folder.rglob("*.yaml")):
        task = read_yaml(path, _Loader)
        if not isinstance(task, dict):
            continue
        kwargs = task.get("dataset_kwargs")
        named = [task.get("dataset_path")]
        named += [kwargs.get("data_files"), kwargs.get("data_dir")] if isinstance(kwargs, dict) else []
        for value in named:
            yield from ((path, Path(text)) for text in _texts(value) if text and Path(text).exists())


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
