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
    """Print a user's error on stderr, in one line; names from files may have characters that a terminal obeys."""
    shown = line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    print(f"error: {shown}", file=sys.stderr)
