"""The file of ranks and errors of hidden states, which the report reads without importing torch."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ream.errors import UserError
from ream.evaluation.fidelity_records import Fidelity
from ream.machine.files import read_json


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MeanRanks(_Record):
    """The fields of `ream.evaluation.rank.Ranks`, whose module imports torch."""

    numerical: float
    numerical_stderr: float | None
    effective: float
    effective_stderr: float | None
    sequences: int
    largest: float


class LayerErrors(_Record):
    """The fields of `ream.compress.compare.LayerError`, whose module imports torch."""

    index: int
    block: float | None
    stream: float


class RankedCell(_Record):
    """The hidden states of one compressed model, and how close its predictions are to the original's.

    ``fidelity`` is None in files of earlier versions, and where no held-out sequence has a second token.
    """

    method: str
    experts: int
    ranks: MeanRanks
    layers: list[LayerErrors]
    fidelity: Fidelity | None = None


class MixRanks(_Record):
    """The hidden states of the original and of all models of a mix.

    Where no sequence is held out, ``original`` is None and there are no cells.
    """

    mix: str
    tokens: int
    original: MeanRanks | None
    cells: list[RankedCell]


def read_ranks(path: Path) -> MixRanks:
    """The records that the stage rank wrote.

    Raises:
        UserError: the file is missing, or does not hold such records.
    """
    tree: Any = read_json(path)
    try:
        return MixRanks.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not a file of ranks: {where}: {first['msg']}; run the stage rank again") from None
