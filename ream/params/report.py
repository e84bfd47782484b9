"""Sections report and imports: what the report shows beside the scores of this run."""

from pydantic import Field, model_validator

from ream.errors import UserError
from ream.params.section import NAME, Section

TAKEN = ("ours", "paper")  # names that imported results cannot have


class Import(Section):
    """Results of an earlier run, shown beside ours in the report (docs/analysis.md, "Imported results").

    ``path`` is a CSV file, or a file or folder that lm-eval wrote. The columns of a CSV file name its models and take
    precedence over the fields here; lm-eval's files do not, so they need ``model``, ``method`` and ``experts``.
    """

    path: str = Field(min_length=1, description="CSV file, or file or folder of lm-eval")
    origin: str | None = Field(None, description="name shared by the entries of one run [default: the entry's name]")
    model: str | None = Field(None, min_length=1, description="the original's hub id or folder")
    method: str | None = Field(None, min_length=1, description="'original' for the original itself")
    experts: int | None = Field(None, ge=1, description="routed experts per layer")
    mix: dict[str, float] = Field(default={}, description="maps a calibration source to its ratio")
    parameters: int | None = Field(None, ge=1, description="parameters of the model, for the overview")

    @property
    def is_csv(self) -> bool:
        """Whether the results are a CSV file; otherwise they are JSON of lm-eval."""
        return self.path.lower().endswith(".csv")

    @model_validator(mode="after")
    def _described(self) -> "Import":
        missing = [name for name in ("model", "method", "experts") if getattr(self, name) is None]
        if missing and not self.is_csv:
            raise ValueError(f"lm-eval's files do not name the model; add {', '.join(missing)}")
        if self.method == "original" and self.mix:
            raise ValueError("the original has no calibration mix; leave mix out")
        return self


def check_origin(name: str, origin: str | None) -> None:
    """Refuse a name of imported results that is reserved or not a name.

    Args:
        name: of the entry.
        origin: of its results; None where they are called as the entry.

    Raises:
        UserError: the name is reserved, or has characters that are not allowed.
    """
    shown = name if origin is None else origin
    if shown.lower() in TAKEN or not NAME.fullmatch(shown):
        raise UserError(
            f"imports.{name}: results cannot be called '{shown}'; use letters, digits, '.', '_' and '-' only, "
            f"and not {' or '.join(TAKEN)}"
        )


class Report(Section):
    """What the report shows beside the scores."""

    published: str | None = Field(None, description="folder of the paper's numbers, such as data/published; null: none")
    costs: bool = Field(False, description="show the seconds and peak memory that the stages took on this machine")
