"""Sections calibration, sources and mixes: the calibration text, and the ratios of its sources."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ream.errors import UserError, unknown
from ream.params.section import Section


class Calibration(Section):
    """The sequences that are drawn from every source."""

    sequences: int = Field(ge=1, description="sequences from each source; for sequential methods, in total")
    tokens: int = Field(ge=8, description="tokens per sequence")
    fill: float = Field(0.9, gt=0, le=1, description="fraction of a sequence that a document must fill")
    seed: int = Field(0, ge=0)


Windows = Annotated[
    Annotated[int, Field(ge=1)] | Literal["all"],
    Field(description="most sequences that one document gives, one behind the other; all: as many as it has"),
]


class BuiltinSource(Section):
    """Text that is generated, or found on this machine, without a network (ream/calibration/builtin.py)."""

    kind: Literal["builtin"]
    name: Literal["general", "math", "code"]
    split: Literal["train", "calibration", "held-out"] = "calibration"


class HubSource(Section):
    """A data set of the Hugging Face hub, read with ``datasets``."""

    kind: Literal["hub"]
    dataset: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    column: str = "text"
    where: dict[str, list[bool | int | float | str]] = Field(
        default_factory=dict, description="maps a column to the values of the rows to keep"
    )
    streaming: bool = True
    shuffle_buffer: int = Field(10_000, ge=1, description="rows of all open files that a streamed shuffle holds")
    count: str | None = Field(None, description="column whose values are counted among the documents drawn")
    windows: Windows = 1


class FilesSource(Section):
    """Local text, JSONL or Parquet files; ``column`` is ignored for .txt, where each file is one document.

    All but Parquet may be compressed by gzip or zstd, with .gz or .zst behind the name.
    """

    kind: Literal["files"]
    paths: list[str] = Field(min_length=1, description="files or glob patterns")
    column: str = "text"
    windows: Windows = 1


class TokensSource(Section):
    """Own tokens: a Parquet file with rows {source: str, input_ids: list[int]}, used as they are.

    Padding is left out where the rows have an ``attention_mask: list[int]`` as well.
    """

    kind: Literal["tokens"]
    path: str
    source: str | None = Field(None, description="use only the rows of this source; null: all rows")


Source = Annotated[BuiltinSource | HubSource | FilesSource | TokensSource, Field(discriminator="kind")]


def normalised(ratios: dict[str, float]) -> dict[str, float]:
    """Ratios divided by their sum."""
    total = sum(ratios.values())
    return {source: ratio / total for source, ratio in ratios.items()}


def check_mix(name: str, ratios: dict[str, float], sources: dict[str, Any]) -> None:
    """Refuse a mix with unknown sources, negative ratios or nothing but zeros.

    Raises:
        UserError: names the mix, and what is allowed.
    """
    for source, ratio in ratios.items():
        if source not in sources:
            raise unknown(f"mix '{name}': source", source, sources, "params 'sources'")
        if not 0 <= ratio < float("inf"):
            raise UserError(f"mix '{name}': the ratio of {source} is {ratio}; ratios are finite and not negative")
    if not any(ratio > 0 for ratio in ratios.values()):
        raise UserError(f"mix '{name}': all ratios are zero; at least one must be positive")
