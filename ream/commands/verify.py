"""`ream verify`: check a model that ream has written."""

from pathlib import Path
from typing import Annotated

import typer

from ream.commands.output import print_rows


def verify(out: Annotated[Path, typer.Argument(help="A folder that ream has written.")]) -> None:
    """Check a model that ream has written.

    Checks config, index, recipe, shapes, dtypes, finite values, and the SHA-256 of every file.
    """
    from ream.recipe.verify import verify as verified

    print_rows(verified(out))
