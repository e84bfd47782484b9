"""params.yaml as one tree: its sections, and the checks across sections."""

from pydantic import Field, model_validator

from ream.errors import UserError, unknown
from ream.params.methods import Grouping, Method, Statistics
from ream.params.model import Compute, Merge, Model
from ream.params.report import Import, Report, check_origin
from ream.params.run import Export, Run
from ream.params.search import Search, check_search
from ream.params.section import NAME, Section
from ream.params.sources import BuiltinSource, Calibration, Source, check_mix, normalised
from ream.params.suites import Evaluation, Rank, Suite

BUILTIN = ("general", "math", "code")  # text that ream can make without any source
# Sections whose keys are names that a person chooses.
NAMED_ENTRIES = ("local", "sources", "mixes", "methods", "suites", "exports", "imports")


class Params(Section):
    """All settings: the sections of params.yaml."""

    model: Model
    local: dict[str, str] = Field(
        default={}, description="files and folders on this machine that results depend on; DVC watches them"
    )
    compute: Compute = Compute()
    calibration: Calibration
    sources: dict[str, Source] = Field(description="text or tokens to calibrate on and to measure loss on, by name")
    statistics: Statistics = Statistics()
    mixes: dict[str, dict[str, float]] = Field(
        description="maps the name of a mix to its sources and their ratios, of which the sum does not matter"
    )
    grouping: Grouping = Grouping()
    methods: dict[str, Method]
    suites: dict[str, Suite]
    evaluation: Evaluation
    run: Run
    rank: Rank = Rank()
    search: Search = Search()
    report: Report = Report()
    merge: Merge = Merge()
    exports: dict[str, Export] = {}
    imports: dict[str, Import] = {}

    @model_validator(mode="after")
    def _fits_together(self) -> "Params":
        self._check_names()
        for name, ratios in self.mixes.items():
            check_mix(name, ratios, self.sources)
        self._check_run()
        if self.evaluation.suite not in self.suites:
            raise unknown("suite", self.evaluation.suite, self.suites, "params 'suites'")
        self._check_exports()
        self._check_search()
        for name, entry in self.imports.items():
            check_origin(name, entry.origin)
            if entry.mix:
                check_mix(f"imports.{name}", entry.mix, self.sources)
        return self

    def _check_names(self) -> None:
        """Refuse names of entries that cannot be names of files."""
        for section in NAMED_ENTRIES:
            for name in getattr(self, section):
                if not NAME.fullmatch(name):
                    raise UserError(f"{section}.{name}: use letters, digits, '.', '_' and '-' only")

    def _check_run(self) -> None:
        """Refuse names in the section run that do not exist, and methods in the list of the other kind."""
        for kind, name_of_one in (("sources", "source"), ("mixes", "mix")):
            for name in getattr(self.run, kind):
                if name not in getattr(self, kind):
                    raise unknown(name_of_one, name, getattr(self, kind), f"params '{kind}'")
        for name in self.run.mixes:
            missing = [s for s, ratio in self.mixes[name].items() if ratio > 0 and s not in self.run.sources]
            if missing:
                raise UserError(f"mix '{name}' draws on {missing}, which run.sources leaves out; add them there")
        for field, other, sequential in (("one_shot", "sequential", False), ("sequential", "one_shot", True)):
            for where, lists in (("run", self.run), ("run.extra", self.run.extra)):
                for name in getattr(lists, field):
                    if self.method(name).sequential != sequential:
                        raise UserError(
                            f"method '{name}' has sequential: {not sequential}; list it under {where}.{other}"
                        )

    def _check_exports(self) -> None:
        """Refuse exports that are not cells of the run."""
        for name, export in self.exports.items():
            if export.mix not in self.run.mixes:
                raise unknown(f"exports.{name}: mix", export.mix, self.run.mixes, "run.mixes")
            methods = self.run.methods(export.mix)
            if export.method not in methods:
                raise unknown(f"exports.{name}: method", export.method, methods, "the run section")
            if export.experts not in self.run.experts:
                raise UserError(
                    f"exports.{name}: {export.experts} experts is not in run.experts {self.run.experts}; add it there"
                )

    def _check_search(self) -> None:
        """Refuse methods to search with that do not exist, and objectives that cannot be measured."""
        for name in self.run.search:
            self.method(name)
        if self.run.search:
            suite = self.suites[self.evaluation.suite]
            check_search(self.search, self.run.sources, (*suite.mc, *suite.gen))

    def method(self, name: str) -> Method:
        """A method by its name.

        Raises:
            UserError: there is no such method; names the nearest.
        """
        if name not in self.methods:
            raise unknown("method", name, self.methods, "params 'methods'")
        return self.methods[name]

    def loss_source(self, name: str) -> Source:
        """The text whose held-out loss an entry of a suite's ``loss`` names.

        That is an entry of ``sources`` that keeps text held out, or else the built-in text of that name.

        Raises:
            UserError: there is neither.
        """
        source, where = self.sources.get(name), f"suites.{self.evaluation.suite}.loss: source"
        if source is not None and (isinstance(source, BuiltinSource) or source.held_out is not None):
            return source
        if name in BUILTIN:
            return BuiltinSource(kind="builtin", name=name)
        if source is None:
            allowed = {*BUILTIN, *self.sources}
            raise unknown(where, name, allowed, "the built-in text, with params 'sources',")
        raise UserError(
            f"{where} '{name}' keeps no text held out from calibration; set sources.{name}.held_out, such as 0.1 "
            "(docs/text.md)"
        )

    def mix(self, name: str) -> dict[str, float]:
        """Source to ratio of a mix, with zero ratios included; they sum to 1.

        Raises:
            UserError: there is no such mix.
        """
        if name not in self.mixes:
            raise unknown("mix", name, self.mixes, "params 'mixes'")
        return normalised(self.mixes[name])
