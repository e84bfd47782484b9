"""The stages of the graph: the options that each takes, and the entries of the params file that it depends on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ream.errors import UserError

if TYPE_CHECKING:
    from ream.params import Params
    from ream.workspace.held_settings import Entry


@dataclass(frozen=True)
class StageEntry:
    """The options and settings of a stage, whose module is ``ream.stages.NAME``.

    Attributes:
        needed: options that must be given.
        optional: options of which all or none are given.
        settings: the entries of the params file that the stage depends on, the same as in dvc.yaml. {mix} and the like
            stand for options, {suite} for the suite of the evaluation.
        distributed: whether the ranks of a torchrun can run the stage together.
        resumes: whether the stage, run again after it was interrupted, goes on where it stood.
    """

    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    distributed: bool = False
    resumes: bool = False

    @property
    def usage(self) -> str:
        """The options as a line shows them; optional ones in brackets."""
        options = " ".join(f"--{option}" for option in self.needed)
        optional = " ".join(f"--{option}" for option in self.optional)
        return f"{options} {f'[{optional}]' if optional else ''}".strip() or "no options"

    def check(self, name: str, given: Collection[str]) -> None:
        """Refuse options with which the stage of that name cannot run.

        Raises:
            UserError: an option is missing or superfluous.
        """
        if set(given) not in ({*self.needed}, {*self.needed, *self.optional}):
            shown = " ".join(f"--{option}" for option in given) or "none"
            raise UserError(f"stage {name} takes {self.usage}; given: {shown}")

    def entries(self, params: "Params", options: Mapping[str, Any]) -> "list[Entry]":
        """The keys that lead to each of the settings; names of entries may contain dots, so they stay in parts."""
        names = {"suite": params.evaluation.suite, **options}
        return [tuple(key.format(**names) for key in setting.split(".")) for setting in self.settings]


CELL = ("mix", "method", "experts")
GRID = ("run.one_shot", "run.sequential", "run.extra", "run.experts")
SCORING = ("suites.{suite}", "evaluation", "compute", "merge.dtype", "model.special_tokens")
STAGES = {
    "names": StageEntry(settings=("local", "run", "exports")),  # all others depend on it, through the next
    "code": StageEntry(),
    "watch": StageEntry(("local",), settings=("local.{local}",)),
    "inputs": StageEntry(
        settings=(
            "model.path",
            "local",
            "sources",
            "run.sources",
            "suites.{suite}",
            "evaluation.include",
            "report.published",
            "imports",
        )
    ),
    "check": StageEntry(
        settings=(
            "model",
            "grouping",
            "methods",
            "run",
            "mixes",
            "calibration.sequences",
            "statistics",
            "suites.{suite}",
            "evaluation.allow_code_execution",
            "evaluation.include",
        )
    ),
    "model": StageEntry(settings=("model",)),
    "calibration": StageEntry(
        ("source",), settings=("sources.{source}", "calibration", "rank", "model.special_tokens")
    ),
    "statistics": StageEntry(
        ("source",),
        optional=("shard", "shards"),
        settings=("statistics", "compute", "calibration.seed"),
        distributed=True,
        resumes=True,
    ),
    "mixture": StageEntry(("mix",), settings=("mixes.{mix}", "calibration.sequences")),
    "saliency": StageEntry(("mix",), settings=("mixes.{mix}",)),
    "grouping": StageEntry(
        CELL, settings=("methods.{method}", "grouping.group_size.{experts}", "mixes.{mix}", "calibration")
    ),
    "alignment": StageEntry(CELL, settings=("methods.{method}", "mixes.{mix}", "statistics", "compute"), resumes=True),
    "sequential": StageEntry(
        CELL,
        settings=(
            "methods.{method}",
            "grouping.group_size.{experts}",
            "mixes.{mix}",
            "calibration",
            "statistics",
            "compute",
        ),
        distributed=True,
        resumes=True,
    ),
    "items": StageEntry(
        settings=(
            "sources",
            "suites.{suite}",
            "evaluation.seed",
            "evaluation.allow_code_execution",
            "evaluation.include",
            "model.special_tokens",
        )
    ),
    "evaluate": StageEntry(optional=CELL, settings=SCORING, resumes=True),  # without a cell, the original
    "rank": StageEntry(("mix",), settings=("compute", "run.sources", *GRID)),
    "fidelity": StageEntry(("export",), settings=("exports.{export}", "compute", "run.sources")),
    "search": StageEntry(
        ("method", "experts"),
        optional=("worker",),
        settings=(
            "methods.{method}",
            "grouping.group_size.{experts}",
            "search",
            "run.sources",
            "calibration",
            "rank.sequences",
            "statistics",
            "compute",
            "suites.{suite}",
            "evaluation",
            "model.special_tokens",
        ),
        resumes=True,
    ),
    "merge": StageEntry(("export",), settings=("exports.{export}", "merge")),
    "metrics": StageEntry(settings=("run",)),
    "report": StageEntry(
        settings=(
            "model",
            "sources",
            "calibration",
            "mixes",
            "suites.{suite}",
            "evaluation",
            "run",
            "report",
            "imports",
            "merge",  # the command that the page gives
        )
    ),
}


def entries_of_all(params: "Params") -> "list[Entry]":
    """The entries that any stage depends on and that a params file may leave out where DVC does not read it."""
    plain = [entry for entry in STAGES.values() if not {*entry.needed, *entry.optional}]
    entries = [key for entry in plain for key in entry.entries(params, {})]
    fixed = (s for entry in STAGES.values() for s in entry.settings if "{" not in s)
    entries += [tuple(setting.split(".")) for setting in fixed]
    return entries + [("grouping", "group_size", str(experts)) for experts in params.run.experts]
