import random

import pytest

from ream.evaluation.answer_faults import BLOCK, looping, parsed_nothing, thinking_left_open


@pytest.mark.parametrize(
    ("answer", "loops"),
    [
        ("So it is 4. " * 17, True),  # 204 characters
        ("First, think.\n" + "So it is 4.\n" * 17, True),
        ("So it is 4. " * 16, False),  # 191 characters: white space at the end does not count
        ("So it is 4. " * 17 + "The answer is 4.", False),
        ("So it is 4. " * 16 + "So it is", True),  # cut within the block: 200 characters
        ("So it is 4. " * 15 + "So it is", False),  # 188
        ("x" * 200, True),
        ("x" * 199, False),
        ("", False),
        (" \n" * 500, False),
        ("".join(f"Step {n}. " for n in range(300)), False),
    ],
)
def test_a_loop_is_a_block_that_repeats_to_the_end(answer, loops):
    assert looping(answer) == loops


def looping_by_hand(answer):
    """By the definition: every period, character by character from the end."""
    text = answer.rstrip()
    for period in range(1, BLOCK + 1):
        length = min(period, len(text))
        while length < len(text) and text[-length - 1] == text[-length - 1 + period]:
            length += 1
        if len(text) > period and length >= max(200, 4 * period):
            return True
    return False


def test_loops_of_random_blocks_and_noise_are_those_of_the_definition():
    rng = random.Random(0)
    seen = set()
    for _ in range(300):
        block = "".join(rng.choice("ab ") for _ in range(rng.choice([1, 3, 49, 50, 51, 120, 499, 500, 501])))
        text = "".join(rng.choice("ab") for _ in range(rng.randrange(50))) + block * rng.randrange(1, 7)
        text = text[: len(text) - rng.randrange(1 + len(block))] + rng.choice(["", "", "c"])
        assert looping(text) == looping_by_hand(text), text
        seen.add(looping(text))
    assert seen == {True, False}


@pytest.mark.parametrize(
    ("prompt", "answer", "is_open"),
    [
        ("Q", "<think>hm", True),
        ("Q", "<think>hm</think>4", False),
        ("Q", "<think>a</think><think>b", True),
        ("Q<assistant><think>\n", "hm", True),  # the template has opened it
        ("Q<assistant><think>\n", "hm</think>4", False),
        ("Q<assistant><think>\n\n</think>\n\n", "4", False),
        ("Q", "[THINK]hm", True),
        ("Q", "4", False),
        ("What does <think> do?", "It thinks", False),
    ],
)
def test_thinking_is_left_open_where_the_last_mark_opens(prompt, answer, is_open):
    assert thinking_left_open(prompt, answer) == is_open


@pytest.mark.parametrize(("result", "nothing"), [("", True), (" \n", True), ("[invalid]", True), ("no code", True),
                                                 ("0", False), ("invalid", False)])  # fmt: skip
def test_nothing_is_parsed_where_the_filter_says_so(result, nothing):
    assert parsed_nothing(result) == nothing
