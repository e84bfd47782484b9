"""Where a generated row of tokens ends as an answer, and whether the limit of tokens ended it."""

from collections.abc import Callable, Collection, Iterator, Sequence

from ream.evaluation.answers import Generated


def generated_rows(
    rows: Sequence[Sequence[int]],
    end_tokens: Collection[int],
    stops: Sequence[str],
    limit: int,
    decode: Callable[[Sequence[int]], str],
    think_end: str | None = None,
) -> Iterator[Generated]:
    """How each row of a batch was generated.

    A row goes on after its end for as long as another of the batch is not finished. Its answer ends with the first
    token that ends a text or completes a stop; if there is none, the limit has cut it.

    Args:
        rows: token ids of each row after the prompt.
        end_tokens: token ids that end a text.
        stops: texts that end an answer.
        limit: the most tokens of an answer.
        decode: token ids to text.
        think_end: what ends thinking, where it is taken off the answer.
    """
    for row in rows:
        ended = next((place for place, token in enumerate(row) if token in end_tokens), None)
        answer = list(row if ended is None else row[: ended + 1])
        stopped = _first_with_stop(answer, [stop for stop in stops if stop], decode)
        kept = answer if stopped is None else answer[:stopped]
        cut = stopped is None and ended is None and len(answer) >= limit
        yield Generated(len(kept), cut, think_end is not None and think_end in decode(kept))


def _first_with_stop(row: Sequence[int], stops: Sequence[str], decode: Callable[[Sequence[int]], str]) -> int | None:
    """The number of tokens with which the first stop is complete; None where there is no stop in the row."""

    def stopped(count: int) -> bool:
        text = decode(row[:count])
        return any(stop in text for stop in stops)

    if not stopped(len(row)):
        return None
    low, high = 0, len(row)  # no stop within the first ``low`` tokens, one within ``high``
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if stopped(middle) else (middle, high)
    return high
