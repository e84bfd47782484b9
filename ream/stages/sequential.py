"""Stage sequential: statistics, saliency, grouping, alignment, merge and propagation, layer by layer, to a recipe."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ream.calibration.corpus import read_corpus
from ream.calibration.mixing import TOO_FEW
from ream.calibration.packing import pad
from ream.compress.precision import precision_line
from ream.compress.rarely_routed import recipe_remark, warning
from ream.compress.refit_summary import refit_result
from ream.core.composition import needs
from ream.errors import UserError
from ream.machine.progress import Progress
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.needs import sample_facts
from ream.workspace.options import StageOptions
from ream.workspace.original import Original, open_decoder, open_original, recipe_facts
from ream.workspace.rank_parts import check_batches, discard_parts, on_own_device, parts_of

if TYPE_CHECKING:
    from ream.core.composition import Composition
    from ream.core.recipe import Recipe
    from ream.walk.batches import Batches
    from ream.walk.probes import Probes
    from ream.walk.ranks import Ranks
    from ream.walk.share import Share
    from ream.walk.state import WalkState


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Compress the model on a mix by a sequential method and write the recipe; a killed run goes on where it stood.

    Under torchrun every rank calls this. Each takes its own part of the micro-batches through the layers, the first
    decides on each layer by the totals of all ranks, and all leave each other at the end.

    Raises:
        UserError: the method is one-shot, the sources hold too few sequences for the mix, or there are more ranks than
            micro-batches; the error of any rank ends all of them.
    """
    mix, method = options.mix, options.method
    if not params.method(method).sequential:
        raise UserError(f"method '{method}' is one-shot; run it through the stages grouping and alignment")
    original = open_original(workspace, params.model.keep_shards)
    if options.ranks is not None:
        params = on_own_device(params, options.ranks)
    walk = _prepared(params, workspace, original, options)
    line = f"sequential {mix} {method}: {options.experts} of {original.manifest.experts} experts, "
    line += f"{int(walk.data.mask.sum()):,} tokens"
    ranks = options.ranks
    recipe = _alone(walk, workspace, options) if ranks is None else _shared(walk, workspace, options, ranks)
    if recipe is None:  # not the first rank
        return line
    facts = recipe.facts
    told = refit_result(facts.get("refit", {})) + precision_line(facts.get("sample", {}), original.manifest.experts)
    return line + told + warning(recipe_remark(recipe.layers))


@dataclass(frozen=True)
class _Walk:
    """One sequential compression, ready to walk.

    Attributes:
        params: all settings; under torchrun, with this rank's device.
        original: the model.
        options: mix, method and number of experts.
        data: the tokens of the mix; under torchrun, those of all ranks.
        facts: provenance of the recipe.
        depends: everything that a finished layer depends on.
        sources: of each sequence of all ranks, the name of its source.
    """

    params: Params
    original: Original
    options: StageOptions
    data: "Batches"
    facts: dict[str, Any]
    depends: dict[str, Any]
    sources: list[str]

    @property
    def name(self) -> str:
        """Name of the walk's state."""
        return f"sequential-{self.options.mix}-{self.options.method}-{self.options.experts}"

    @property
    def composition(self) -> "Composition":
        """The method as plain values."""
        return self.params.method(self.options.method).composition()

    def recipe(self, data: "Batches", probes: "Probes", state: "WalkState", share: "Share | None" = None) -> "Recipe":
        """The recipe after a walk of ``data``; with a ``share``, ``data`` are the tokens of this rank."""
        from ream.compress.sequential import compress_sequentially
        from ream.compress.streams import streams

        params, original, options = self.params, self.original, self.options
        composition, layers = self.composition, original.architecture.depth
        decoder = open_decoder(params, original)
        walked, silent = streams(data, composition), share is not None and not share.ranks.first
        title = f"sequential {options.mix}" + ("" if share is None else f", rank 0 of {share.ranks.size}")
        size = params.grouping.size_for(options.experts)
        with Progress(len(walked) * layers, title, "batch", layers, int(walked.mask.sum()), silent=silent) as bar:
            return compress_sequentially(
                decoder, data, probes, composition, options.experts, size, state, bar, self.facts, share,
                self.sources,
            )  # fmt: skip


def _prepared(params: Params, workspace: Workspace, original: Original, options: StageOptions) -> _Walk:
    """The tokens of the mix and everything that the walk's results depend on.

    Raises:
        UserError: the sources hold too few sequences for the mix, or see `check_inputs`.
    """
    from ream.models.runtime import runtime
    from ream.walk.batches import batches, check_inputs

    drawn = read_corpus(workspace.mixture(options.mix), may_be_empty=True)
    if TOO_FEW in drawn.facts:
        raise UserError(f"mix '{options.mix}': {drawn.facts[TOO_FEW]}")
    ids, mask = pad(drawn.sequences, pad_id=0)
    check_inputs(ids, mask, original.limits, original.architecture.multi_token)
    device, dtype = runtime(*params.compute.placement)
    mix, method, experts = options.mix, options.method, options.experts
    composition = params.method(method).composition()
    facts = recipe_facts(params, original.manifest, mix, method, experts, drawn.facts["calibration"])
    depends = {
        **facts,
        "probes": params.statistics.probes if "probes" in needs(composition) else 0,
        "device": device.type,
        "dtype": str(dtype),
        "threads": params.compute.threads,
        "batch_tokens": params.compute.batch_tokens,
        "code": options.code,
        **sample_facts(params, needs(composition), int(mask.sum()), alone=options.ranks is None),
    }
    return _Walk(
        params, original, options, batches(ids, mask, params.compute.batch_tokens), facts, depends, drawn.source
    )


def _alone(walk: _Walk, workspace: Workspace, options: StageOptions) -> "Recipe":
    """Walk all tokens in this process and write the recipe."""
    from ream.recipe.recipe_file import save_recipe
    from ream.walk.probes import probes_of
    from ream.walk.state import WalkState, fingerprint

    params, depends = walk.params, walk.depends
    folder, memory = workspace.state(walk.name), params.compute.hidden_memory
    with WalkState(folder, fingerprint(depends), options.discard_stale, depends, memory) as state:
        recipe = walk.recipe(walk.data, probes_of(walk.data, depends), state)
        save_recipe(workspace.recipe(options.mix, options.method, options.experts), recipe)
        if not options.keep_state:
            state.clear()
    return recipe


def _shared(walk: _Walk, workspace: Workspace, options: StageOptions, ranks: "Ranks") -> "Recipe | None":
    """Walk this rank's tokens; the first rank writes the recipe and returns it.

    Raises:
        UserError: there are more ranks than micro-batches, or another rank has failed.
    """
    from ream.compress.sequential import recipe_of
    from ream.recipe.recipe_file import save_recipe

    architecture = walk.original.architecture
    check_batches(f"mix {options.mix}", walk.data, ranks)
    walks = {walk.name: (walk.data, walk.depends)}
    with parts_of(walk.params, workspace, walks, options.discard_stale, ranks) as parts:
        part = parts[walk.name]
        if part.share.ahead < architecture.depth:  # else the ranks were killed after the last layer
            walk.recipe(*part)
    recipe = None
    if ranks.first:
        recipe = recipe_of(part.share.committed, architecture.moe_layers, walk.facts, walk.composition)
        save_recipe(workspace.recipe(options.mix, options.method, options.experts), recipe)
        if not options.keep_state:
            discard_parts(workspace, walk.name)
    ranks.leave()
    return recipe
