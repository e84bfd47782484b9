import pytest

from ream.evaluation.answers import Generated
from ream.evaluation.generation import generated_rows

END = 0


def decode(tokens):
    return "".join(chr(96 + token) for token in tokens if token != END)  # 1 is a


@pytest.mark.parametrize(
    ("row", "limit", "expected"),
    [
        ([1, 2, 3, 4], 4, Generated(4, True)),
        ([1, 2, 3, END], 4, Generated(4, False)),  # the end came with the last token allowed
        ([1, END, END, END], 4, Generated(2, False)),
        ([1, END, 9, 9], 4, Generated(2, False)),  # the batch went on
        ([1, 24, 25, 9], 4, Generated(3, False)),  # the stop "xy" is complete with the third
        ([1, 24, 9, 25], 4, Generated(4, True)),
        ([1, 2, 24, 25], 4, Generated(4, False)),
        ([1, END, 24, 25], 4, Generated(2, False)),
        ([1, 24, 25, END], 4, Generated(3, False)),
        ([1, 2], 4, Generated(2, False)),  # the others of the batch stopped it
    ],
)
def test_an_answer_ends_with_the_first_stop_or_the_limit(row, limit, expected):
    (found,) = generated_rows([row], {END}, ["xy", ""], limit, decode)
    assert found == expected
