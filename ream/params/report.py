"""Sections report and imports: what the report shows beside our own scores."""

from pydantic import Field, model_validator

from ream.errors import UserError
from ream.params.section import NAME, Section

TAKEN = ("ours", "paper")  # names of results that are not imported


class Import(Section):
    """Results of an earlier run, to stand beside ours in the report (docs/analysis.md, "Imported results").

    ``path``: a CSV file, or what lm-eval wrote, a file or a folder. A CSV file's columns say which models it has, and
    win over what stands here; lm-eval's files do not say it, so that ``model``, ``method`` and ``experts`` must.
    """

    path: str = Field(min_length=1)
    origin: str | None = Field(None, description="name of the results, where several entries are of one run")
    model: str | None = Field(None, min_length=1, description="the original's hub id or folder")
    method: str | None = Field(None, min_length=1, description="'original' for the original itself")
    experts: int | None = Field(None, ge=1, description="routed experts a layer")
    mix: dict[str, float] = Field(default={}, description="source to ratio of the calibration")
    parameters: int | None = Field(None, ge=1, description="of the model, for the overview")

    @property
    def is_csv(self) -> bool:
        """Whether it is a CSV file; else it is lm-eval's JSON."""
        return self.path.lower().endswith(".csv")

    @model_validator(mode="after")
    def _described(self) -> "Import":
        missing = [name for name in ("model", "method", "experts") if getattr(self, name) is None]
        if missing and not self.is_csv:
            raise ValueError(f"lm-eval's files do not say what the model is; add {', '.join(missing)}")
        if self.method == "original" and self.mix:
            raise ValueError("the original has no calibration mix; leave mix out")
        return self


def check_origin(name: str, origin: str | None) -> None:
    """Refuse a name of imported results that other results have.

    Args:
        name: of the entry. origin: of its results, where it names them.

    Raises:
        UserError: says which names are taken.
    """
    shown = name if origin is None else origin
    if shown.lower() in TAKEN or not NAME.fullmatch(shown):
        raise UserError(
            f"imports.{name}: results can't be called '{shown}'; a name is letters, digits, '.', '_' and '-' alone, "
            f"and {' and '.join(TAKEN)} are taken"
        )


class Report(Section):
    """What the report shows beside the scores."""

    published: str | None = Field(None, description="folder of the paper's numbers, data/published; null: none")
    costs: bool = Field(
        False, description="seconds and peak memory of the stages, as this machine measured them when they ran"
    )
