"""Questions to a language model about the tokens that follow others, and the rows of tokens that answer all of them.

A question is about one continuation, or about all tokens of a window but the first. Its row is what a model is given
for it: everything but the last token, which predicts nothing. In a causal model what a row predicts does not depend on
what follows, so a row that another one begins with is left out, and its questions are read off the longer one. With
that, choices of one token, as of MMLU, share the row of their context.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ream.errors import UserError


@dataclass(frozen=True)
class Query:
    """A question: how likely some tokens are, each after all tokens before it.

    Attributes:
        ids: all tokens.
        targets: how many of the last ones are asked for; at least one, and fewer than there are.
    """

    ids: tuple[int, ...]
    targets: int

    @classmethod
    def continuation(cls, context: Sequence[int], continuation: Sequence[int], longest: int) -> "Query":
        """The question for a continuation of a context, cut on the left to a row of at most ``longest`` tokens.

        Raises:
            UserError: the continuation has no token, or more than ``longest``.
        """
        if not 0 < len(continuation) <= longest:
            raise UserError(
                f"a task asks for an answer of {len(continuation)} tokens, of which the model's inputs hold 1 to "
                f"{longest}; leave the task out, or raise evaluation.max_length if it is the limit"
            )
        return cls(tuple([*context, *continuation][-(longest + 1) :]), len(continuation))

    @property
    def row(self) -> tuple[int, ...]:
        """The tokens that the model is given."""
        return self.ids[:-1]

    @property
    def first(self) -> int:
        """The place in the row that predicts the first token asked for."""
        return len(self.row) - self.targets


def rows_of(queries: Iterable[Query]) -> tuple[list[tuple[int, ...]], dict[tuple[int, ...], int]]:
    """The rows that answer all questions, and for the row of each question the number of the one that begins with it.

    The rows are sorted by their tokens, so they do not depend on the order of the questions.
    """
    wanted = sorted({query.row for query in queries})
    rows: list[tuple[int, ...]] = []
    within: dict[tuple[int, ...], int] = {}
    for place, row in enumerate(wanted):
        # what begins with a row comes right behind it
        following = wanted[place + 1] if place + 1 < len(wanted) else ()
        within[row] = len(rows)
        if following[: len(row)] != row:
            rows.append(row)
    return rows, within
