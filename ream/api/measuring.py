"""`ream.evaluate` and `ream.compare`: how good a model is, and how close to another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ream.api.arguments import Lines, Say, Text, path_of, settings_of, texts_of
from ream.api.results import Comparison, Evaluation
from ream.commands.compare import compare_models, comparing, table
from ream.commands.evaluate import recipes_or_original, score_models
from ream.commands.scoring import ScoreRequest, scoring
from ream.commands.shipped import params_file
from ream.evaluation.scores import Cell, Scores
from ream.machine.sharing import share_cores
from ream.recipe.provenance import Provenance


def evaluate(
    model: str | Path,
    suite: str | None = None,
    *,
    text: Text = (),
    whole_text: bool = False,
    recipe: str | Path | Sequence[str | Path] | None = None,
    with_original: bool = False,
    out: str | Path | None = None,
    backend: str | None = None,
    endpoint: str | None = None,
    endpoint_model: str | None = None,
    limit: int | None = None,
    sequences: int | None = None,
    tokens: int | None = None,
    allow_code_execution: bool = False,
    settings: Mapping[str, Any] | None = None,
    params: str | Path | None = None,
    say: Say | None = None,
) -> Evaluation:
    """Score a model on a suite of tasks, or its loss on own text, as `ream evaluate` does.

    Args:
        model: hub id or folder.
        suite: a suite of the params file; without it that of ``evaluation.suite`` or, with ``text``, no tasks.
        text: own text, as ``PATH[:COLUMN][=NAME]``, whose held-out part is measured in place of the suite's loss.
        whole_text: measure on all of the text.
        recipe: score the model compressed by this recipe, without writing it, or by several (see `Evaluation.others`).
        with_original: score the model itself, too, before its recipes.
        out: JSON file for the results; the answers go into a Parquet file beside it.
        backend: what runs the model.
        endpoint: base URL of a server that answers for the model; its key is in the environment.
        endpoint_model: the model's name there.
        limit: items per task.
        sequences: windows of each text, at most.
        tokens: of a window.
        allow_code_execution: run generated code where a task asks for it.
        settings: any other settings.
        params: params file or preset.
        say: called with lines, such as ``print``.

    Raises:
        UserError: the input is wrong, or there is too little text.
    """
    request = ScoreRequest(
        model=str(model),
        suite=suite,
        backend=backend,
        endpoint=endpoint,
        endpoint_model=endpoint_model,
        limit=limit,
        allow_code_execution=allow_code_execution,
        text=texts_of(text),
        whole_text=whole_text,
        sequences=sequences,
        tokens=tokens,
        settings=settings_of(settings),
    )
    return _scored(request, path_of(params), _models(recipe, with_original), path_of(out), say)


def _models(recipe: str | Path | Sequence[str | Path] | None, with_original: bool) -> list[Path | None]:
    """The recipes to score, and None for the model as it is."""
    return recipes_or_original([Path(each) for each in texts_of(recipe or ())], with_original)


def _scored(
    request: ScoreRequest, params: Path | None, recipes: Sequence[Path | None], out: Path | None, say: Say | None
) -> Evaluation:
    """Score models as they are asked for."""
    share_cores()
    lines, warnings = Lines(say), Lines(say)
    scores = score_models(scoring(request, params_file(params)), recipes, out, lines, warnings)
    made = scores.settings["model"].get("made")
    ways = made if isinstance(made, list) else [made] * len(scores.cells)
    found = [_evaluation(request.model, *each, scores) for each in zip(scores.cells, ways, strict=True)]
    return replace(found[0], others=tuple(found[1:]), lines=tuple(lines.kept), warnings=tuple(warnings.kept))


def _evaluation(model: str, cell: Cell, made: Mapping[str, Any] | None, scores: Scores) -> Evaluation:
    """The scores of one model."""
    return Evaluation(
        model=model,
        made=None if made is None else Provenance(**made),
        loss={source: loss.loss for source, loss in cell.loss.items()},
        tasks={name: score.value for name, score in cell.tasks.items()},
        mean_loss=cell.mean_loss,
        mc=cell.mc,
        gen=cell.gen,
        parameters=cell.parameters,
        scores=scores,
    )


def compare(
    original: str | Path,
    other: str | Path,
    *,
    text: Text = (),
    whole_text: bool = False,
    sequences: int | None = None,
    tokens: int | None = None,
    out: str | Path | None = None,
    card: bool = False,
    device: str | None = None,
    settings: Mapping[str, Any] | None = None,
    params: str | Path | None = None,
    say: Say | None = None,
) -> Comparison:
    """Compare the predictions of two models of one vocabulary, as `ream compare` does.

    Args:
        original: hub id or folder.
        other: the model to compare with it, whoever made it.
        text: own text, as ``PATH[:COLUMN][=NAME]``, of which the held-out part is taken; without it, the text held out
            of the params file's ``run.sources``.
        whole_text: take all of the text.
        sequences: of each text, at most.
        tokens: of a sequence, at most.
        out: JSON file for the results.
        card: put the numbers into the model card of ``other``, a folder, too.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        settings: any other settings.
        params: params file or preset.
        say: called with lines, such as ``print``.

    Raises:
        UserError: a model is damaged, the vocabularies differ, or the text cannot be read.
    """
    share_cores()
    lines = Lines(say)
    chosen = comparing(
        str(original), texts_of(text), whole_text, sequences, tokens, device, settings_of(settings), path_of(params)
    )
    fidelity = compare_models(chosen, str(other), path_of(out), lines, card)
    return Comparison(
        original=str(original),
        other=str(other),
        texts=fidelity.sources,
        mean=fidelity.mean,
        table="\n".join(table(fidelity)),
        lines=tuple(lines.kept),
    )
