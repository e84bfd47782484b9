"""Loading transformers' tokenizer of a model that somebody else made."""

from pathlib import Path
from typing import Any

from ream.calibration.tokenizer import FAST
from ream.calibration.tokenizer_check import check_tokenizer
from ream.errors import UNUSABLE, UserError, one_line
from ream.machine.documents import read_text
from ream.machine.files import read_table

TABLES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json")


def load_tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    """The tokenizer of a model's folder, through transformers.

    Args:
        folder: of the model.
        trust_remote_code: let a tokenizer that the model ships as Python code run.

    Raises:
        UserError: a file of the tokenizer is damaged, takes too long or too much memory to use (`check_tokenizer`), or
            is refused by transformers.
    """
    from transformers import AutoTokenizer

    for name in TABLES:
        if (folder / name).exists():
            read_table(folder / name)
    if (folder / FAST).exists():
        check_tokenizer(read_text(folder / FAST), str(folder / FAST))
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except UNUSABLE as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UserError(
            f"{folder}: transformers cannot load its tokenizer ({reason}); fetch the tokenizer's files again"
        ) from error
