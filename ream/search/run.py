"""A whole search by the process that writes its results: trials, front, recipes, and what they measure."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from ream.core.recipe import LayerRecipe, Recipe
from ream.machine.files import building
from ream.recipe.recipe_file import save_recipe
from ream.search.losses import LOSS, TOKENS
from ream.search.made import recipe_of_mix
from ream.search.outcome import Measured, by_scores, mix_records, target_of, target_of_scores, volumes_of
from ream.search.records import (
    FOUND,
    LIVE,
    TRIALS,
    MixRecord,
    SearchRecord,
    Target,
    TrialRow,
    write_record,
    write_trials,
)
from ream.search.resampled import Resampled
from ream.search.scored import Scorer, tasks_of
from ream.search.session import ORIGINAL, Session, name_of
from ream.search.side_by_side import Layers, Note
from ream.search.workers import work

Draw = Callable[[SearchRecord, Sequence[TrialRow], Path], None]


def search(session: Session, out: Path, windows: Path, note: Note, draw: Draw) -> SearchRecord:
    """Try all mixes, check the front on unseen text, and write the results into a folder.

    Args:
        session: the search.
        out: folder to write: the table of trials, the record, and ``recipes``.
        windows: the file of held-out windows, for scores on tasks.
        note: told what is being done.
        draw: writes figures of the record and the trials into the folder.
    """
    asked, weights = session.asked, session.params.search.weights
    by_text = bool(weights) and set(weights) <= set(session.objectives.names)
    measured = _tried(session)
    members = measured.candidates(session.params.search.candidates)
    first = measured.by_weights(_shares(weights))[:2] if by_text else []
    members = sorted({*members, *first[:1]})
    final = _on_final_text(session, measured, [*members, *first], note)
    records = mix_records(measured, asked.method, asked.experts, members, final)
    recipes = {record.trial: recipe_of_mix(session, record.name, record.ratios) for record in records if record.front}
    records = _completed(session, records, recipes, windows, note)
    names = {record.trial: record.name for record in records}
    target: Target | None = None
    if weights:
        target = target_of(measured, weights, names, final) if by_text else target_of_scores(records, weights)
    record = _record(session, measured, records).model_copy(
        update={"volumes": volumes_of(measured, members, final), "target": target}
    )
    with building(out) as folder:
        rows = measured.rows()
        write_trials(folder / TRIALS, rows)
        for mix in records:
            if mix.recipe is not None:
                (folder / mix.recipe).parent.mkdir(exist_ok=True)
                save_recipe(folder / mix.recipe, recipes[mix.trial])
        write_record(folder / FOUND, record)
        draw(record, rows, folder)
    return record


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _tried(session: Session) -> Measured:
    """All trials, measured by this process and by its helpers."""
    asked, trials, measuring = session.asked, session.trials, session.measuring

    def current() -> Measured:
        told = trials.told()
        known = [trial for trial in trials.all() if trial.number in told]
        return Measured(known, measuring.sums(), told, session.objectives)

    def show() -> None:
        write_trials(asked.state / LIVE, current().rows())

    make = cache(session.maker)
    session.final.offer(session.compared_with())
    work(
        trials, measuring, show, f"search {asked.method} {asked.experts}", wait=True,
        meanwhile=lambda note: session.final.take(make(), note),
    )  # fmt: skip
    return current()


def _on_final_text(session: Session, measured: Measured, members: list[int], note: Note) -> Resampled:
    """What the members and the known mixes measure on unseen text."""
    numbers = sorted({*members, *measured.known})
    recipes = session.recipes()
    models: dict[str, Layers | None] = {
        name_of(number): recipes.of(measured.trials[number].ratios) for number in numbers
    }
    if session.objectives.column == LOSS:  # of which the record says what the original has
        models[ORIGINAL] = None
    sums = session.final.sums(models, note, shared=True)
    return Resampled(session.objectives, {number: sums[name_of(number)] for number in numbers})


def _completed(
    session: Session,
    records: list[MixRecord],
    recipes: Mapping[int, Recipe],
    windows: Path,
    note: Note,
) -> list[MixRecord]:
    """The records with the paths of recipes, what sequential models measure, and scores on tasks."""
    sequential, tasks = session.params.method(session.asked.method).sequential, tasks_of(session.params)
    scorer = Scorer(session, windows) if tasks else None
    done = []
    for record in records:
        if record.front:
            recipe = recipes[record.trial]
            changes: dict[str, object] = {"recipe": f"recipes/{record.name}.safetensors"}
            if sequential:  # one after the other: keys of streams do not tell corrections apart
                sums = session.final.sums({f"made-{record.name}": _of_decoder(session, recipe)}, note)
                own = {record.trial: next(iter(sums.values()))}
                changes["made"] = Resampled(session.objectives, own).of(record.trial)
            if scorer is not None:
                changes["scores"] = scorer.scores(record.name, recipe)
            record = record.model_copy(update=changes)
        done.append(record)
    return by_scores(done, session.params.search.names(session.params.run.sources)) if tasks else done


def _of_decoder(session: Session, recipe: Recipe) -> dict[int, LayerRecipe]:
    """The layers that come before the head."""
    return {index: layer for index, layer in recipe.layers.items() if index < session.original.architecture.layers}


def _record(session: Session, measured: Measured, records: list[MixRecord]) -> SearchRecord:
    params, asked, objectives = session.params, session.asked, session.objectives
    search = params.search
    original: dict[str, float] = {}
    if objectives.column == LOSS:
        sums = session.final.sums({ORIGINAL: None}, lambda _: None)[ORIGINAL]
        losses, tokens = sums[..., LOSS].sum(axis=1), sums[..., TOKENS].sum(axis=1)
        original = {name: float((losses / tokens)[objectives.sources.index(name)]) for name in objectives.names}
    return SearchRecord(
        method=asked.method, relative=params.method(asked.method).sequential, experts=asked.experts,
        sources=list(objectives.sources), objectives=list(objectives.names), measure=search.measure,
        tasks=tasks_of(params), trials=len(measured.trials), seed=search.seed,
        sequences=(search.sequences, search.final_sequences), original=original, mixes=records,
    )  # fmt: skip
