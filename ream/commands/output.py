"""What commands print: lines, in which what is not printable is escaped."""

import sys

import typer

from ream.errors import printable


def say(text: str) -> None:
    """Print a line."""
    typer.echo(printable(text))


def print_rows(rows: dict[str, str]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, rows))
    for name, value in rows.items():
        say(f"{name:<{width}}  {value}")


def warn(text: str) -> None:
    """Print a warning on stderr."""
    typer.echo(printable(f"warning: {text}"), err=True)


def print_error(line: str) -> None:
    """Print a user's error on stderr, in one line."""
    print(printable(f"error: {line}"), file=sys.stderr)
