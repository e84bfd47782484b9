"""A document, and the split that a document of the built-in sources belongs to."""

import hashlib
from dataclasses import dataclass
from typing import Literal, get_args

Split = Literal["train", "calibration", "held-out"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Document:
    """One text.

    Attributes:
        id: stable identifier: where the text comes from and its position there.
        text: the text.
        label: value of the column that is counted among the documents drawn; None where none is.
        chat: whether the text is a conversation, rendered by a chat template, which is never cut in two.
    """

    id: str
    text: str
    label: str | None = None
    chat: bool = False


def split_of(content: str | bytes) -> Split:
    """The split of a content by its SHA-256: 80% train, 10% calibration, 10% held-out.

    Args:
        content: bytes, or a text that is hashed as UTF-8.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    bucket = int.from_bytes(hashlib.sha256(data).digest()[:4], "big") % 10
    return "held-out" if bucket == 0 else "calibration" if bucket == 1 else "train"
