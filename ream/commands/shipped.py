"""What comes with ream beside its code: the default settings, presets of public models, and the demo's tasks.

In the repository these are params.yaml, params/ and data/tasks, to which the package has links; a wheel has copies.
"""

import difflib
from pathlib import Path

from ream.errors import UserError
from ream.machine.shipped import default_settings, package, presets

DEFAULT = "default"  # the name of the settings that come with ream, as in `extends: default`
TASKS = "data/tasks"  # evaluation.include of all params files that come with ream


def params_file(given: Path | None) -> Path:
    """The params file to use: the given one, params.yaml in this folder, or the one that comes with ream.

    Args:
        given: a file, or the name of a preset; where there is a file of that name, the file.

    Raises:
        UserError: there is neither.
    """
    local = Path("params.yaml")
    return local if given is None and local.exists() else shipped_params(given)


def shipped_params(given: Path | None) -> Path:
    """The given params file or preset, or the settings that come with ream, whatever this folder has.

    Raises:
        UserError: see `params_file`.
    """
    if given is None or (str(given) == DEFAULT and not given.is_file()):
        return default_settings()
    known = presets()
    if str(given) in known and not given.is_file():
        return known[str(given)]
    if not given.exists():
        # what was meant by params/NAME.yaml where there is no such folder, or by a mistyped name
        near = difflib.get_close_matches(given.name.removesuffix(".yaml"), known, n=1)
        hint = f"did you mean the preset '{near[0]}'? " if near else ""
        raise UserError(
            f"--params: {given} does not exist; {hint}name a params file, or a preset of ream: {', '.join(known)}"
        )
    return given


def task_folder(include: str) -> str:
    """The folder of task files; in a folder without data/tasks, the one that comes with ream.

    Args:
        include: ``evaluation.include`` of the params file.
    """
    if include != TASKS or Path(include).exists():
        return include
    return str(package() / "shipped" / "tasks")
