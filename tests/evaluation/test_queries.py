"""Rows that answer questions: each begins with what its questions need, and none is run twice."""

import random

import pytest

from ream.errors import UserError
from ream.evaluation.queries import Query, rows_of


def test_choices_of_one_token_share_the_row_of_their_context():
    context = (5, 6, 7)
    queries = [Query.continuation(context, [choice], 99) for choice in (1, 2, 3, 4)]
    rows, within = rows_of(queries)
    assert rows == [context]
    assert [(query.first, query.targets) for query in queries] == [(2, 1)] * 4
    assert within == {context: 0}


def test_a_row_that_another_begins_with_is_left_out():
    rows, within = rows_of([Query((1, 2, 3, 4), 1), Query((1, 2, 9), 1), Query((1, 3, 9), 1), Query((1, 2, 3, 9), 2)])
    assert rows == [(1, 2, 3), (1, 3)]
    assert within == {(1, 2): 0, (1, 2, 3): 0, (1, 3): 1}


def test_by_lot_against_plain_search():
    draw = random.Random(4)
    for _ in range(60):
        queries = [Query(tuple(draw.choices(range(2), k=draw.randint(2, 7))), 1) for _ in range(draw.randint(1, 12))]
        rows, within = rows_of(queries)
        wanted = {query.row for query in queries}
        longest = {row for row in wanted if not any(o != row and o[: len(row)] == row for o in wanted)}
        assert set(rows) == longest
        assert len(rows) == len(longest)
        assert all(rows[within[row]][: len(row)] == row for row in wanted)
        draw.shuffle(queries)
        assert rows_of(queries) == (rows, within)


def test_long_contexts_are_cut_on_the_left_as_lm_eval_cuts_them():
    query = Query.continuation(range(10), [10, 11], longest=5)
    assert query.row == (6, 7, 8, 9, 10)
    assert (query.first, query.ids[-2:]) == (3, (10, 11))
    assert Query.continuation([1], [2, 3], longest=2).row == (1, 2)


@pytest.mark.parametrize("length", [0, 6])
def test_an_answer_that_does_not_fit_is_refused(length):
    with pytest.raises(UserError, match=f"answer of {length} tokens.* 1 to 5"):
        Query.continuation([1, 2], range(length), longest=5)
