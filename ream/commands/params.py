"""`ream params`: what the settings are and where each is from; overlays written out; the page of all settings."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ream.commands.options import complete_params
from ream.commands.output import say
from ream.commands.shipped import params_file
from ream.errors import UserError

if TYPE_CHECKING:
    from ream.params.origins import Setting

WIDTH = 68  # column of the origins


class Action(StrEnum):
    """What `ream params` does."""

    SHOW = "show"
    RESOLVE = "resolve"
    PAGE = "page"


def params(
    action: Annotated[
        Action,
        typer.Argument(help="show: all settings; resolve: write out what a file extends; page: docs/params.md."),
    ],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE|PRESET]",
            autocompletion=complete_params,
            help="Params file or preset [default: ./params.yaml, else the settings that ream ships].",
        ),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="show: as a params file, without origins.")] = False,
    out: Annotated[Path, typer.Option(help="resolve: the file to write.")] = Path("params.yaml"),
    force: Annotated[
        bool, typer.Option("--force", help="resolve: replace a file that `resolve` did not write.")
    ] = False,
) -> None:
    """Show all settings with where each is from, or write out a params file that extends another.

    A params file may say only what differs from another: `extends: qwen3-30b-a3b` (a preset, a path, or default for the
    settings that ream ships). DVC needs the whole file: `ream params resolve mine.yaml` writes params.yaml.
    """
    if action is Action.PAGE:
        from ream.params.page import page

        if file is not None:
            raise UserError("ream params page takes no file: it describes the settings of every file; leave it out")
        typer.echo(page(), nl=False)
        return
    path = params_file(file)
    if action is Action.RESOLVE:
        from ream.params.written_out import resolve

        if file is None:
            raise UserError("ream params resolve needs the file to write out, such as mine.yaml, or a preset")
        resolve(path, out, force)
        say(f"{out}: the settings of {path}, written out")
        return
    from ream.params.origins import settings_of

    for line in shown(settings_of(path), plain):
        say(line)


def shown(settings: "list[Setting]", plain: bool) -> Iterator[str]:
    """Settings as lines of YAML, with their origins as comments unless ``plain``."""
    import yaml

    before: tuple[str, ...] = ()
    for setting in settings:
        common = 0
        while common < min(len(before), len(setting.keys) - 1) and before[common] == setting.keys[common]:
            common += 1
        for depth in range(common, len(setting.keys) - 1):
            yield f"{'  ' * depth}{_scalar(setting.keys[depth])}:"
        value = yaml.safe_dump(setting.value, default_flow_style=True, width=10**6, allow_unicode=True)
        value = value.removesuffix("...\n").strip()
        line = f"{'  ' * (len(setting.keys) - 1)}{_scalar(setting.keys[-1])}: {value}"
        yield line if plain else f"{line:<{WIDTH}} # {setting.origin}"
        before = setting.keys


def _scalar(key: str) -> str:
    """A key as YAML writes it; numbers of experts stay numbers."""
    import yaml

    return key if key.isdigit() else yaml.safe_dump(key, default_flow_style=True).removesuffix("...\n").strip()
