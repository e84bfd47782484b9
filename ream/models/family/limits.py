"""What a model's inputs can be: their longest length, and the token ids that have an embedding."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ream.errors import UserError
from ream.machine.files import read_table
from ream.models.family.families import family_of


@dataclass(frozen=True)
class Limits:
    """Of the inputs of a model, as its config.json has them.

    Attributes:
        vocabulary: number of token ids, ``vocab_size``; a tokenizer may have fewer ids, or more.
        positions: the most tokens of an input, ``max_position_embeddings``; None for no limit.
    """

    vocabulary: int
    positions: int | None = None

    def check_setting(self, name: str, tokens: int) -> None:
        """Refuse a setting that makes inputs longer than the model's can be.

        Args:
            name: of the setting.
            tokens: its value.

        Raises:
            UserError: names the setting and the limit.
        """
        if self.positions is not None and tokens > self.positions:
            raise UserError(
                f"{name}: {tokens} is more than the model's {self.positions} positions (max_position_embeddings in its "
                f"config.json); give at most {self.positions}"
            )

    def check_encoded(self, ids: Sequence[int], model: Path | str) -> None:
        """Refuse token ids of the model's own tokenizer that the model has no embedding for.

        Args:
            ids: of a text.
            model: whose tokenizer it is.

        Raises:
            UserError: names the id and the size of the vocabulary.
        """
        if ids and max(ids) >= self.vocabulary:
            raise UserError(
                f"the tokenizer of {model} gives the token id {max(ids)}, but the model has embeddings for "
                f"{self.vocabulary} (vocab_size in its config.json); use the tokenizer that belongs to the model"
            )


def limits_of(model: Path) -> Limits:
    """The limits of the model in a folder.

    Raises:
        UserError: config.json is missing or not JSON, or the family is unknown.
    """
    config = read_table(model / "config.json")
    family = family_of(config, str(model))
    return Limits(family.vocabulary(config), family.positions(config))
