"""What a search has found, as files: a table of its trials, and a record of its front; light to import."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ream.errors import UserError
from ream.machine.files import read_json, replacing, write_json

TRIALS, FOUND = "trials.parquet", "search.json"
LIVE = "live.parquet"  # the trials so far, in the state of a search, for whoever watches
RATIO, VALUE = "ratio.", "value."  # how the columns of the table of trials begin


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Record):
    """A value and the ends of its 95% interval, a bootstrap over sequences; None where there is one sequence only."""

    value: float
    low: float | None = None
    high: float | None = None


class MixRecord(_Record):
    """A mix of the front, or a known one.

    Attributes:
        trial: its number.
        name: what it is called in params.yaml if it is adopted.
        written: as its trial is called, 0.3:0.3:0.3.
        origin: paper, even, single or found.
        ratios: source to its share.
        front: whether it is on the front of the search.
        search: objective to its value on the text of the search.
        final: objective to its value on text that the search has not seen.
        scores: objective on tasks to its score in percent, for candidates.
        made: objective to its value on the final text, of the model that the sequential method makes.
        recipe: its file beside the record; None where none was written.
    """

    trial: int
    name: str
    written: str
    origin: str
    ratios: dict[str, float]
    front: bool
    search: dict[str, float]
    final: dict[str, Estimate] = {}
    scores: dict[str, float] = {}
    made: dict[str, Estimate] = {}
    recipe: str | None = None


class Volumes(_Record):
    """Hypervolumes on the final text, above one reference point.

    Attributes:
        front: of the front that the search chose.
        known: of the paper's mixes or, where there are none of these sources, of all known ones.
        ratio: the first divided by the second.
        reference: objective to the value of the reference point, a tenth of the known mixes' range beyond the worst.
    """

    front: Estimate
    known: Estimate
    ratio: Estimate
    reference: dict[str, float]


class Target(_Record):
    """The one mix for the weights that were asked for.

    Attributes:
        weights: objective to its weight, of 1 in all.
        mix: name of the mix.
        search: the weighted objective on the text of the search, which is optimistic: the mix was chosen by it.
        final: on text that the search has not seen.
        runner_up: the next mix by the search's text, and what it measures more on the final text than the chosen one.
    """

    weights: dict[str, float]
    mix: str
    search: float
    final: Estimate | None = None
    runner_up: str | None = None
    runner_up_more: Estimate | None = None


class SearchRecord(_Record):
    """What a search was, and its front.

    Attributes:
        method: the method.
        relative: whether the search ran on its one-shot relative.
        experts: K.
        sources: of the mixes.
        objectives: those on text, all in nats per token, less is better.
        measure: loss or kl.
        tasks: objectives on tasks, in percent, more is better.
        trials: number of trials.
        seed: of the sampler.
        sequences: of each source that a trial was measured on, and final ones.
        original: objective to the original's loss on the final text; {} where KL was measured.
        mixes: the front and the known mixes, by trial.
        volumes: None where the front was not checked.
        target: None where no target was given.
    """

    method: str
    relative: bool
    experts: int
    sources: list[str]
    objectives: list[str]
    measure: str
    tasks: list[str] = []
    trials: int
    seed: int
    sequences: tuple[int, int]
    original: dict[str, float] = {}
    mixes: list[MixRecord]
    volumes: Volumes | None = None
    target: Target | None = None

    @property
    def front(self) -> list[MixRecord]:
        """The mixes of the front, by the first objective."""
        return sorted((mix for mix in self.mixes if mix.front), key=lambda mix: mix.search[self.objectives[0]])


class TrialRow(_Record):
    """A row of the table of trials.

    Attributes:
        trial: its number.
        mix: name of a known mix, or its ratios.
        origin: paper, even, single or found.
        ratios: source to its share.
        sequences: of each source on which it was measured.
        values: objective to its value; an estimate for all sequences where it was stopped earlier.
        front: whether it is on the front.
    """

    trial: int
    mix: str
    origin: str
    ratios: dict[str, float]
    sequences: int
    values: dict[str, float]
    front: bool


def write_trials(path: Path, rows: Sequence[TrialRow]) -> None:
    """Write the table of trials as Parquet; the same trials give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def columns(row: TrialRow) -> Mapping[str, object]:
        return {
            "trial": row.trial, "mix": row.mix, "origin": row.origin,
            **{f"{RATIO}{name}": ratio for name, ratio in row.ratios.items()},
            "sequences": row.sequences,
            **{f"{VALUE}{name}": value for name, value in row.values.items()},
            "front": row.front,
        }  # fmt: skip

    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist([dict(columns(row)) for row in rows]), temporary, compression="zstd")


def read_trials(path: Path) -> list[TrialRow]:
    """The table of trials that `write_trials` wrote.

    Raises:
        UserError: the file is missing or not such a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:  # pq.read_table imports pandas, which takes a flow's process a second
            rows = file.read().to_pylist()
        return [
            TrialRow(
                trial=row["trial"], mix=row["mix"], origin=row["origin"], ratios=_under(row, RATIO),
                sequences=row["sequences"], values=_under(row, VALUE), front=row["front"],
            )
            for row in rows
        ]  # fmt: skip
    except (OSError, pa.ArrowException, KeyError, ValidationError):
        raise UserError(f"{path} is not a table of trials; run the search again") from None


def _under(row: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def write_record(path: Path, record: SearchRecord) -> None:
    """Write the record as JSON, atomically."""
    write_json(path, record.model_dump())


def read_record(path: Path) -> SearchRecord:
    """The record that `write_record` wrote.

    Raises:
        UserError: the file is missing, not JSON, or not such a record.
    """
    try:
        return SearchRecord.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path} is not a record of a search: {where}: {first['msg']}; search again") from None
