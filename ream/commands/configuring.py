"""A params file with settings and options of the command line put into it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.errors import UserError

if TYPE_CHECKING:
    from ream.params import Params


def configured(
    params_path: Path,
    settings: Iterable[str],
    options: Mapping[str, tuple[str, Any]],
    decided: Mapping[str, str],
) -> tuple[dict[str, Any], "Params"]:
    """The tree of a params file with settings and options put into it, and the params that the settings alone give.

    A command that runs alone uses all cores, unless ``compute.threads`` is among the settings.

    Args:
        params_path: the params file.
        settings: as SECTION.KEY=VALUE.
        options: dotted path to the option that gives it and the option's value, None where it was not given.
        decided: dotted paths that are not settings of this command, with the reason.

    Raises:
        UserError: see `load_params`; a setting is unknown, not allowed, given twice, or decided by the command.
    """
    from ream.params import parse_params
    from ream.params.reading import read_tree
    from ream.params.setting import parse_setting, with_settings

    tree: dict[str, Any] = read_tree(params_path)
    base = parse_params(tree, str(params_path))
    given = {path: value for path, (_, value) in options.items() if value is not None}
    values: dict[str, Any] = {}
    for path, value in map(parse_setting, settings):
        reason = next((why for name, why in decided.items() if f"{path}.".startswith(f"{name}.")), None)
        if reason is not None:
            raise UserError(f"--set: {path} cannot be set here; {reason}")
        if path in values or path in given:
            twice = f"{options[path][0]} and --set" if path in given else "--set twice"
            raise UserError(f"{path} is given by {twice}; give it once")
        values[path] = value
    if values:
        tree = with_settings(tree, list(values.items()))
        base = parse_params(tree, "--set")
    return with_settings(tree, [*{"compute.threads": "auto", **values, **given}.items()]), base


def with_section(tree: Mapping[str, Any], section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the tree with some values of a section replaced."""
    return {**tree, section: {**tree.get(section, {}), **values}}
