"""Sections calibration, sources and mixes: the calibration text, and the ratios of its sources."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ream.errors import UserError, unknown
from ream.params.section import Section


class Calibration(Section):
    """The sequences that are drawn from every source."""

    sequences: int = Field(ge=1, description="sequences from each source; for sequential methods, in total")
    tokens: int = Field(ge=8, description="tokens per sequence")
    fill: float = Field(0.9, gt=0, le=1, description="fraction of a sequence that a document must fill")
    packing: bool = Field(
        False,
        description="documents one behind the other, with an end token between, cut into full sequences (docs/text.md)",
    )
    separator: str | None = Field(
        None, min_length=1, description="token between packed documents; null: the model's end token"
    )
    seed: int = Field(0, ge=0, description="orders the documents")

    @model_validator(mode="after")
    def _fits(self) -> "Calibration":
        if self.separator is not None and not self.packing:
            raise ValueError("separator stands between packed documents; set packing: true, or leave it out")
        return self


Windows = Annotated[
    Annotated[int, Field(ge=1)] | Literal["all"],
    Field(description="most sequences that one document gives, one behind the other; all: as many as it has"),
]
HeldOut = Annotated[
    Annotated[float, Field(gt=0, le=1)] | None,
    Field(
        description="fraction of the text that no model is calibrated on, to measure loss on it; chosen by the text "
        "alone, so that it is always the same (docs/text.md); 1: all of it, null: none"
    ),
]
COLUMN = "column with the text, or with a conversation as a list of messages"
TOOLS = "column with the tools of a conversation, as a list or JSON; null: no tools"


class BuiltinSource(Section):
    """Text that is generated, or found on this machine, without a network (ream/calibration/builtin.py)."""

    kind: Literal["builtin"] = Field(description="text that comes with ream and Python")
    name: Literal["general", "math", "code"] = Field(description="which text")
    split: Literal["train", "calibration", "held-out"] = Field(
        "calibration", description="part of the text; the demo model was trained on train"
    )


class HubSource(Section):
    """A data set of the Hugging Face hub, read with ``datasets``."""

    kind: Literal["hub"] = Field(description="a data set of the Hugging Face hub, or a folder of the same layout")
    dataset: str = Field(description="its id, or a folder")
    config: str | None = Field(None, description="its configuration; null: the only one")
    split: str = Field("train", description="its split")
    revision: str | None = Field(None, description="branch, tag or commit; null: main")
    column: str = Field("text", description=COLUMN)
    tools: str | None = Field(None, description=TOOLS)
    where: dict[str, list[bool | int | float | str]] = Field(
        default_factory=dict, description="maps a column to the values of the rows to keep"
    )
    streaming: bool = Field(True, description="read rows as they come; false: download the whole split first")
    shuffle_buffer: int = Field(10_000, ge=1, description="rows of all open files that a streamed shuffle holds")
    count: str | None = Field(None, description="column whose values are counted among the documents drawn")
    windows: Windows = 1
    held_out: HeldOut = None


class FilesSource(Section):
    """Local files of text, JSON or Parquet; ``column`` is ignored for plain text, where each file is one document.

    All but Parquet may be compressed by gzip or zstd, with .gz or .zst behind the name.
    """

    kind: Literal["files"] = Field(description="local files of text, JSON or Parquet")
    paths: list[str] = Field(min_length=1, description="files, folders or glob patterns")
    column: str = Field("text", description=COLUMN)
    tools: str | None = Field(None, description=TOOLS)
    windows: Windows = 1
    held_out: HeldOut = None


class TokensSource(Section):
    """Own tokens: a Parquet file with rows {source: str, input_ids: list[int]}, used as they are.

    Padding is left out where the rows have an ``attention_mask: list[int]`` as well.
    """

    kind: Literal["tokens"] = Field(description="own tokens")
    path: str = Field(description="Parquet file with rows {source, input_ids}")
    source: str | None = Field(None, description="use only the rows of this source; null: all rows")
    held_out: HeldOut = None


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
        if ratio > 0 and getattr(sources[source], "held_out", None) == 1:
            raise UserError(
                f"mix '{name}' draws on {source}, all of which is held out (held_out: 1); lower that, or "
                "give the source the ratio 0"
            )
        if not 0 <= ratio < float("inf"):
            raise UserError(f"mix '{name}': the ratio of {source} is {ratio}; ratios are finite and not negative")
    if not any(ratio > 0 for ratio in ratios.values()):
        raise UserError(f"mix '{name}': all ratios are zero; at least one must be positive")
