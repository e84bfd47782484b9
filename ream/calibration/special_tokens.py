"""The tokens that a tokenizer puts before and after a text, such as a beginning-of-text token (BOS)."""

from collections.abc import Callable
from dataclasses import dataclass

from ream.errors import UserError

PROBE = "a"  # a text that every tokenizer can encode


@dataclass(frozen=True)
class SpecialTokens:
    """The token ids that a tokenizer adds to every text.

    Attributes:
        before: ids before the text's own; usually BOS, or none.
        after: ids behind them; usually none.
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    def around(self, ids: list[int]) -> list[int]:
        """A text's own ids with the added ones; unchanged where they begin so already, as a rendered chat does.

        lm-eval treats prompts in the same way.
        """
        if self.before and tuple(ids[: len(self.before)]) == self.before:
            return ids
        return [*self.before, *ids, *self.after]


def measured(encode: Callable[[bool], list[int]]) -> SpecialTokens:
    """What a tokenizer adds to a text, found by encoding one with special tokens and without.

    Args:
        encode: the ids of one text, with special tokens where the argument is True.

    Raises:
        UserError: the ids without special tokens are not among those with them.
    """
    whole, plain = encode(True), encode(False)
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return SpecialTokens(tuple(whole[:start]), tuple(whole[start + len(plain) :]))
    raise UserError(
        f"the tokenizer encodes a text as {plain} without special tokens and as {whole} with them, which is not the "
        "same text with tokens before and behind it; set model.special_tokens: none"
    )
