"""What commands print."""

import sys

import typer


def print_rows(rows: dict[str, str]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, rows))
    for name, value in rows.items():
        typer.echo(f"{name:<{width}}  {value}")


def warn(text: str) -> None:
    """Print a warning on stderr."""
    typer.echo(f"warning: {text}", err=True)


def print_error(line: str) -> None:
    """Print a user's error on stderr, in one line."""
    print(f"error: {line}", file=sys.stderr)
