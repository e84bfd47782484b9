"""What can be wrong with a generated answer besides its result: nothing parsed, thinking left open, a loop."""

from ream.evaluation.livecodebench.scoring import NO_CODE

INVALID = "[invalid]"  # what lm-eval's filters give where they find nothing
THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
BLOCK, REPEATS, CHARACTERS = 500, 4, 200  # of a loop


def parsed_nothing(result: str) -> bool:
    """Whether a filter found no result in an answer: it is empty, lm-eval's mark, or a program without code."""
    return result.strip() in ("", INVALID, NO_CODE)


def thinking_left_open(prompt: str, answer: str) -> bool:
    """Whether an answer ends while the model is thinking: the last mark is one that opens.

    Args:
        prompt: the prompt, whose end counts too, because chat templates of some models open the thinking there.
        answer: the generated text.
    """
    for opening, closing in THINKING:
        text = opening + answer if prompt.rstrip().endswith(opening) else answer
        if text.rfind(opening) > text.rfind(closing):
            return True
    return False


def looping(answer: str) -> bool:
    """Whether an answer ends in a loop: the same block of characters over and over.

    The block has at most BLOCK characters; it stands there at least REPEATS times, one right after the other, over at
    least CHARACTERS characters in all. The last time may be incomplete, as where a limit cut the answer. White space
    at the end does not count. Found is only what repeats exactly: not a list whose numbers go up.

    A text ends with a block of p characters that repeats over n characters exactly if its reverse r begins with n - p
    characters that stand there again p characters later; these lengths are r's Z-function (Gusfield 1997, 1.4).
    """
    reverse = answer.rstrip()[: -(BLOCK * REPEATS) - 1 : -1]
    return any(
        period + again >= max(CHARACTERS, REPEATS * period)
        for period, again in enumerate(_z_function(reverse)[: BLOCK + 1])
        if period
    )


def _z_function(text: str) -> list[int]:
    """For each place the length of the longest piece there that the text also begins with."""
    lengths = [0] * len(text)
    left = right = 0  # the piece found so far that ends last
    for place in range(1, len(text)):
        length = min(right - place, lengths[place - left]) if place < right else 0
        while place + length < len(text) and text[length] == text[place + length]:
            length += 1
        lengths[place] = length
        if place + length > right:
            left, right = place, place + length
    return lengths
