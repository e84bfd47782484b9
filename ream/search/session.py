"""Everything that a process of a search has open: the original, the text, the trials and what measures them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ream.errors import UserError
from ream.machine.differences import difference
from ream.machine.files import file_digest, read_json, write_json
from ream.models.decoder import Decoder
from ream.models.head import Head
from ream.models.inspection.manifest import folder_of, load_manifest
from ream.models.runtime import runtime
from ream.params import Params
from ream.search.final import FinalText, Make, withdraw
from ream.search.known import compared_with, known_mixes
from ream.search.losses import KL, LOSS, Ruler
from ream.search.measuring import Measuring, Objectives
from ream.search.mix_recipes import Kept, MixRecipes
from ream.search.side_by_side import Layers, Places
from ream.search.suggestions import Plan
from ream.search.texts import FINAL, SEARCH, Part, drawn_texts
from ream.search.trials import Trials
from ream.search.workers import work
from ream.walk.layer_file import layer_file
from ream.workspace.layout import Workspace
from ream.workspace.original import Original, open_decoder, open_original

FACTS = "facts.json"
OF_TRIALS = ("objectives", "measure", "batch", "sequences", "rungs", "sampler", "seed")  # what trials depend on
ORIGINAL = "original"


@dataclass(frozen=True)
class Asked:
    """Which search is meant.

    Attributes:
        method: name of the method.
        experts: K.
        code: digest of the code that runs.
        state: folder of the search's unfinished work.
        scratch: folder for mapped hidden states, of this process alone.
    """

    method: str
    experts: int
    code: str
    state: Path
    scratch: Path


class Session:
    """A search as one process has it open.

    Attributes:
        params: all settings.
        asked: which search.
        original: the model.
        decoder: of the original.
        objectives: those on text.
        trials: in the journal.
        measuring: measures batches.
        final: measures models on the text that the search never sees.
    """

    def __init__(self, params: Params, workspace: Workspace, asked: Asked) -> None:
        """Open everything; the text is drawn where no process has drawn it yet.

        Raises:
            UserError: see `open_original`, `drawn_texts` and `MixRecipes`.
        """
        self.params, self.workspace, self.asked = params, workspace, asked
        self.original: Original = open_original(workspace, params.model.keep_shards)
        self.decoder: Decoder = open_decoder(params, self.original)
        sources, search = list(params.run.sources), params.search
        own = [name for name in search.names(sources) if name in sources]
        self.objectives = Objectives(sources, own if len(own) > 1 else sources, KL if search.measure == "kl" else LOSS)
        model = folder_of(self.original.manifest)
        texts: Mapping[str, Part] = drawn_texts(
            params, model, self.original.limits, workspace.calibration, asked.state / "text"
        )
        places = Places(params.compute.hidden_memory / search.workers, asked.scratch)
        head = Head(self.decoder, params.model.trust_remote_code)
        self.ruler = Ruler(self.decoder, head, params.compute.batch_tokens, places, search.measure == "kl")
        self.measuring = Measuring(
            asked.state, self.objectives, self.recipes(), self.ruler, texts[SEARCH], search.rungs
        )
        self.final = FinalText(asked.state, self.ruler, texts[FINAL], search.batch, search.workers)
        known = known_mixes({source: params.sources[source] for source in sources})
        plan = Plan(
            sources, len(self.objectives.names), known, search.trials, search.batch, search.sampler, search.seed,
            search.workers,
        )  # fmt: skip
        self.trials = Trials(asked.state, plan)

    @staticmethod
    def facts(params: Params, workspace: Workspace, asked: Asked) -> dict[str, Any]:
        """Everything that the trials of a search depend on.

        Args:
            params: all settings.
            workspace: with the manifest, the statistics and the calibration sequences.
            asked: which search.
        """
        manifest = load_manifest(workspace.manifest)
        sources, search = params.run.sources, params.search.model_dump()
        return {
            "model": manifest.digest,
            "method": params.method(asked.method).one_shot().model_dump(),
            "experts": asked.experts,
            "group_size": params.grouping.size_for(asked.experts),
            "search": {name: search[name] for name in OF_TRIALS},
            "sources": {source: params.sources[source].model_dump() for source in sources},
            "calibration": {source: file_digest(workspace.calibration(source)) for source in sources},
            "statistics": {
                source: [file_digest(layer_file(workspace.statistics(source), index)) for index in manifest.moe_layers]
                for source in sources
            },
            "settings": {
                "calibration": params.calibration.model_dump(),
                "rank": params.rank.sequences,
                "final": params.search.final_sequences,
                "probes": params.statistics.probes,
                "special_tokens": params.model.special_tokens,
                "compute": params.compute.model_dump(exclude={"hidden_memory_gb"}),
            },
            "code": asked.code,
        }

    def check_same(self) -> None:
        """Refuse to help with a search whose trials depend on something else.

        Raises:
            UserError: names what differs.
        """
        facts = self.facts(self.params, self.workspace, self.asked)
        if differs := difference(read_json(self.asked.state / FACTS), facts):
            raise UserError(f"{self.asked.state} is the search with other settings: {differs}; give the same settings")

    def recipes(self, whole: bool = False) -> MixRecipes:
        """What makes the models of mixes.

        Args:
            whole: with the layers that predict further tokens, which no trial is measured by.
        """
        params, original = self.params, self.original
        layers = [index for index in original.architecture.moe_layers if whole or index < original.architecture.layers]
        folders = {source: self.workspace.statistics(source) for source in params.run.sources}
        kept = Kept(self.asked.experts, params.grouping.size_for(self.asked.experts), original.manifest.router_groups)
        composition = params.method(self.asked.method).one_shot().composition()
        device, _ = runtime(*params.compute.placement)
        return MixRecipes(
            original.checkpoint, original.architecture, folders, composition, kept, params.statistics.probes, device,
            layers,
        )  # fmt: skip

    def help(self) -> None:
        """Take trials until there is none left, then models to be measured on the final text, as a silent helper."""
        work(self.trials, self.measuring, lambda: None, "search, helper", wait=False, silent=True)
        self.final.help(self.maker())

    def compared_with(self) -> list[str]:
        """Names of the models that are measured on the final text whatever the search finds."""
        plan = self.trials.plan
        known = compared_with([mix.origin for mix in plan.known[: plan.trials]])
        return [*map(name_of, known), *([ORIGINAL] if self.objectives.column == LOSS else [])]

    def maker(self) -> Make:
        """What gives the model of a name, from the trials that there are when it is asked."""
        recipes = self.recipes()

        def model(name: str) -> Layers | None:
            """The model of a trial, or None for the original."""
            if name == ORIGINAL:
                return None
            [trial] = [trial for trial in self.trials.all() if name_of(trial.number) == name]
            return recipes.of(trial.ratios)

        return model


def name_of(number: int) -> str:
    """The name of a trial's model among those that are measured on the final text."""
    return f"trial-{number}"


def begin(state: Path, facts: Mapping[str, Any], discard_stale: bool) -> None:
    """Take up the state of a killed search, or begin a new one.

    Args:
        state: its folder, which this process holds.
        facts: what its trials depend on.
        discard_stale: begin anew where the folder has trials that depend on something else; otherwise refuse.

    Raises:
        UserError: the folder has the trials of another search, and they may not be discarded.
    """
    withdraw(state)
    path = state / FACTS
    if path.exists() and (differs := difference(read_json(path), dict(facts))):
        if not discard_stale:
            raise UserError(
                f"{state} holds a search with other settings: {differs}; give the old settings to go on, or delete "
                "that folder to start over"
            )
        clear(state)
    write_json(path, dict(facts))


def clear(state: Path) -> None:
    """Remove the trials, the text and the measurements of a search; the lock that holds the folder stays."""
    import shutil

    for path in state.iterdir():
        if path.name == "lock":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
