"""Whether a tokenizer.json can be used at all: read, and applied to a text, in bounded time and memory.

A tokenizer is a stranger's: its regular expressions may take exponential time, and the ``tokenizers`` library, which
cannot be interrupted, raises bare exceptions or panics about files that are JSON and nothing more.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from ream.errors import UserError
from ream.machine.bounded import check_bounded

# Words, numbers and signs, and runs of each that a regular expression may try to split in exponentially many ways.
PROBE = "The quick brown fox, 1,234.5 km – naïve 東京 🙂\n\tdef f(x): return x ** 2\n" + "".join(
    f" {sign * 64}!" for sign in "a1 ._-\n=é"
)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what ``tokenizers`` raises in the block into one line: bare exceptions and, from Rust, panics.

    Args:
        where: the tokenizer's file, for messages.

    Raises:
        UserError: the library cannot use the tokenizer on what it was given.
    """
    try:
        yield
    except BaseException as error:
        if type(error) is Exception or type(error).__name__ == "PanicException":
            raise UserError(f"{where} cannot be used: {error}; repair it, or fetch it again") from None
        raise


def check_tokenizer(content: str, where: str) -> None:
    """Refuse a tokenizer that its library cannot read, or that does not end on a short text.

    Args:
        content: of tokenizer.json.
        where: the file, for messages.

    Raises:
        UserError: it takes too long or too much memory, or the library refuses it.
    """

    def use() -> None:
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_str(content)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode(PROBE)
        max(tokenizer.get_vocab().values())

    check_bounded(use, where)
