"""`ream evaluate`: score one model outside of the graph."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ream.commands.options import ModelArgument, ParamsFile, Settings, Text, WholeText
from ream.commands.output import say, warn
from ream.commands.request import ScoreRequest, scoring
from ream.commands.shipped import params_file

if TYPE_CHECKING:
    from ream.core.recipe import Recipe
    from ream.evaluation.scores import Cell, Scores
    from ream.models.inspection.manifest import Manifest
    from ream.params import Params, Suite
    from ream.recipe.provenance import Provenance


def evaluate(
    model: ModelArgument,
    suite: Annotated[str | None, typer.Option(help="A suite of the params file [default: evaluation.suite].")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Score the model compressed by this recipe, without writing it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the results [default: print them].")] = None,
    backend: Annotated[str | None, typer.Option(help="hf, vllm or layers [default: from the params file].")] = None,
    limit: Annotated[int | None, typer.Option(help="Items per task [default: from the suite].")] = None,
    allow_code_execution: Annotated[
        bool, typer.Option("--allow-code-execution", help="Run generated code where a task asks for it.")
    ] = False,
    text: Text = None,
    whole_text: WholeText = False,
    sequences: Annotated[
        int | None, typer.Option(min=1, help="Windows of each text at most [default: the suite's loss_sequences].")
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens of a window [default: the suite's loss_tokens].")] = None,
    settings: Settings = None,
    params: ParamsFile = None,
) -> None:
    """Score a model on a suite of tasks, or its loss on your own text.

    A suite has multiple-choice (MC) and generative (GEN) tasks, and held-out loss. With --text the loss is that of your
    text; without --suite, no tasks run. A model that ream has compressed is named by its method and mix.
    """
    request = ScoreRequest(
        model=model,
        suite=suite,
        backend=backend,
        limit=limit,
        allow_code_execution=allow_code_execution,
        text=tuple(text or ()),
        whole_text=whole_text,
        sequences=sequences,
        tokens=tokens,
        settings=tuple(settings or ()),
    )
    score_model(scoring(request, params_file(params)), recipe, out, say, warn)


def score_model(
    params: "Params",
    recipe: Path | None,
    out: Path | None,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> "Scores":
    """Score the model of ``params.model`` on the suite of ``params.evaluation``.

    Args:
        params: all settings.
        recipe: the compression of the model to score; None scores the model as it is.
        out: JSON file for the results; None prints them.
        say: prints a line.
        warn: prints a warning.

    Returns:
        the scores, whose settings name the model and, of a compressed one, how it was made.

    Raises:
        UserError: the recipe is of another model, or what the stages refuse.
    """
    from ream.commands.ending import GOES_ON, noting
    from ream.commands.unfinished import identity_of, unfinished
    from ream.evaluation.answer_table import answers_path
    from ream.evaluation.bench import Bench
    from ream.evaluation.suite_checks import check_suite
    from ream.evaluation.told import again, summary, warnings
    from ream.machine.scratch import scratch, without_workspace
    from ream.stages import items
    from ream.workspace.layout import Workspace
    from ream.workspace.options import StageOptions
    from ream.workspace.original import open_original

    suite, evaluation = params.suites[params.evaluation.suite], params.evaluation
    manifest, loaded = _admitted(params, recipe, out)
    made = _provenance(params.model.path, recipe, warn)
    if made is not None:
        say(f"{params.model.path}: {made}" if recipe is None else f"{recipe}: {made}")
    kept = unfinished(identity_of(params, manifest, recipe))
    with noting(GOES_ON), kept as state, scratch(without_workspace()) as folder:
        workspace = Workspace(folder)
        manifest.save(workspace.manifest)
        if _needs_items(suite, Path(evaluation.include)):
            say(items.run(params, workspace, StageOptions()))
        original = open_original(workspace)
        check_suite(suite, evaluation, original.limits)
        windows, scratch_folder = workspace.windows, workspace.scratch
        bench = Bench(params, windows, original.checkpoint, original.architecture, manifest.digest, scratch_folder)
        if finished := bench.finished(state):
            say(again(finished))
        cell = bench.score(loaded, state, answers=None if out is None else answers_path(out))
        if made is not None:
            cell = cell.model_copy(update={"mix": made.mix, "method": made.method})
        for line in warnings(cell):
            warn(line)
        say(summary(cell))
        return _give(params, cell, made, out, say)


def _admitted(params: "Params", recipe: Path | None, out: Path | None) -> tuple["Manifest", "Recipe | None"]:
    """The manifest of the model and the recipe; refuses what cannot be scored or written."""
    from ream.evaluation.answer_table import answers_path
    from ream.evaluation.settings import check_backend
    from ream.evaluation.suite_checks import check_suite
    from ream.machine.unwritten import check_replaceable
    from ream.models.inspection.manifest import manifest_of
    from ream.recipe.output import check_recipe
    from ream.recipe.recipe_file import load_recipe
    from ream.workspace.original import admitted

    if out is not None:
        for path in (out, answers_path(out)):
            check_replaceable(path)
    check_suite(params.suites[params.evaluation.suite], params.evaluation)
    check_backend(params.evaluation.backend)
    loaded = None if recipe is None else load_recipe(recipe)
    admitted(params.model, "drop")
    manifest = manifest_of(params.model.path)
    if loaded is not None:
        check_recipe(loaded, manifest.digest, params.model.path)
    return manifest, loaded


def _provenance(model: str, recipe: Path | None, warn: Callable[[str], None]) -> "Provenance | None":
    """How the scored model was made: by the recipe given, or by the one in its folder; None of an original."""
    from ream.errors import UserError
    from ream.recipe.provenance import provenance, provenance_of

    if recipe is not None:
        return provenance_of(recipe)
    try:
        return provenance(Path(model)) if Path(model).is_dir() else None
    except UserError as error:
        warn(f"{model} has a recipe that cannot be read, so what the model is stays unsaid: {error}")
        return None


def _give(
    params: "Params", cell: "Cell", made: "Provenance | None", out: Path | None, say: Callable[[str], None]
) -> "Scores":
    """Write the results into a file, or print them."""
    import json

    from ream.evaluation.answer_table import answers_path
    from ream.evaluation.bench import scoring_settings, versions
    from ream.evaluation.scores import Scores, write_scores

    described = {"path": params.model.path} | ({} if made is None else {"made": made.as_json()})
    scores = Scores(cells=[cell], settings={**scoring_settings(params), "model": described}, versions=versions())
    if out is None:
        for line in json.dumps(scores.model_dump(), indent=1).splitlines():
            say(line)
    else:
        write_scores(out, scores)
        say(f"results: {out}, answers: {answers_path(out)}")
    return scores


def _needs_items(suite: "Suite", include: Path) -> bool:
    """Whether the suite has held-out losses or demo tasks, for which the stage items writes files."""
    return bool(suite.loss) or any((include / f"{task}.yaml").exists() for task in (*suite.mc, *suite.gen))
