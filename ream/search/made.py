"""Recipes of a search's candidates: of a one-shot method from the statistics, of a sequential one by its own walk."""

from collections.abc import Mapping
from typing import Any

from ream.calibration.corpus import read_corpus
from ream.calibration.mixing import mix_sequences
from ream.calibration.packing import pad
from ream.compress.sequential import compress_sequentially
from ream.compress.streams import streams
from ream.core.composition import needs
from ream.core.recipe import Recipe
from ream.machine.files import file_digest
from ream.machine.progress import Progress
from ream.params import Params
from ream.search.session import Session
from ream.walk.batches import batches, check_inputs
from ream.walk.probes import probes_of
from ream.walk.state import WalkState, fingerprint
from ream.workspace.needs import sample_facts
from ream.workspace.original import recipe_facts


def with_mix(params: Params, name: str, ratios: Mapping[str, float]) -> Params:
    """The settings with one more mix."""
    return params.model_copy(update={"mixes": {**params.mixes, name: dict(ratios)}})


def recipe_of_mix(session: Session, name: str, ratios: Mapping[str, float]) -> Recipe:
    """The recipe of a mix by the method of the search, with the facts that the graph's recipes have.

    Args:
        session: the search.
        name: of the mix.
        ratios: source to its share.

    Raises:
        UserError: a source has too few calibration sequences for its share of a sequential method.
    """
    method, experts = session.asked.method, session.asked.experts
    params = with_mix(session.params, name, ratios)
    used = [source for source, ratio in ratios.items() if ratio > 0]
    corpora = {source: file_digest(session.workspace.calibration(source)) for source in used}
    facts = recipe_facts(params, session.original.manifest, name, method, experts, corpora)
    if not params.method(method).sequential:
        return Recipe(session.recipes(whole=True).of(ratios), facts)
    return _sequential(session, params, name, ratios, facts)


def _sequential(
    session: Session, params: Params, name: str, ratios: Mapping[str, float], facts: dict[str, Any]
) -> Recipe:
    """The recipe by the method's own walk over the sequences of the mix; a killed walk goes on where it stood."""
    method, experts, original = session.asked.method, session.asked.experts, session.original
    corpora = {source: read_corpus(session.workspace.calibration(source)).sequences for source in ratios}
    total = min(params.calibration.sequences, *map(len, corpora.values()))
    rows = mix_sequences(corpora, ratios, total)
    ids, mask = pad([ids for _, ids in rows], pad_id=0)
    check_inputs(ids, mask, original.limits, original.architecture.multi_token)
    composition, data = params.method(method).composition(), batches(ids, mask, params.compute.batch_tokens)
    depends = {
        **facts,
        "probes": params.statistics.probes if "probes" in needs(composition) else 0,
        "compute": params.compute.model_dump(exclude={"hidden_memory_gb"}),
        "code": session.asked.code,
        **sample_facts(params, needs(composition), int(mask.sum())),
    }
    folder, memory = session.asked.state / f"sequential-{name}", params.compute.hidden_memory
    walked, layers = streams(data, composition), original.architecture.depth
    with (
        WalkState(folder, fingerprint(depends), True, depends, memory) as state,
        Progress(len(walked) * layers, f"sequential {name}", "batch", layers, int(walked.mask.sum())) as progress,
    ):
        size, probes = params.grouping.size_for(experts), probes_of(data, depends)
        return compress_sequentially(session.decoder, data, probes, composition, experts, size, state, progress, facts)
