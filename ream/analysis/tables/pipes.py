"""Tables in GitHub's Markdown, from text that is already escaped."""

from collections.abc import Iterable, Sequence


def pipe_table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """The lines of a table: its head, the line below it, and its rows.

    Args:
        head: names of the columns.
        rows: a text for every column.
        right: places of the columns that are aligned to the right.
    """
    to_the_right = set(right)
    alignment = ["---:" if place in to_the_right else "---" for place in range(len(head))]
    return ["| " + " | ".join(fields) + " |" for fields in (head, alignment, *rows)]
