"""`ream evaluate`: score one model outside of the graph."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ream.commands.options import ModelArgument, ParamsFile, Settings
from ream.commands.output import say, warn
from ream.commands.request import ScoreRequest, scoring
from ream.commands.shipped import params_file

if TYPE_CHECKING:
    from ream.core.recipe import Recipe
    from ream.evaluation.scores import Cell
    from ream.models.inspection.manifest import Manifest
    from ream.params import Params, Suite


def evaluate(
    model: ModelArgument,
    suite: Annotated[str | None, typer.Option(help="A suite of the params file [default: evaluation.suite].")] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Score the model compressed by this recipe, without writing it.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the results [default: print them].")] = None,
    backend: Annotated[
        str | None, typer.Option(help="hf, vllm, layers or endpoint [default: from the params file].")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A server that answers for MODEL, with OpenAI's interface, such as http://node7:8000/v1; its key, if "
            "it wants one, in the environment variable REAM_ENDPOINT_KEY.",
        ),
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(metavar="NAME", help="The name of MODEL there.")] = None,
    limit: Annotated[int | None, typer.Option(help="Items per task [default: from the suite].")] = None,
    allow_code_execution: Annotated[
        bool, typer.Option("--allow-code-execution", help="Run generated code where a task asks for it.")
    ] = False,
    settings: Settings = None,
    params: ParamsFile = None,
) -> None:
    """Score a model on a suite of tasks.

    A suite has multiple-choice (MC) and generative (GEN) tasks, and held-out loss.
    """
    request = ScoreRequest(
        model=model,
        suite=suite,
        backend=backend,
        endpoint=endpoint,
        endpoint_model=endpoint_model,
        limit=limit,
        allow_code_execution=allow_code_execution,
        settings=tuple(settings or ()),
    )
    score_model(scoring(request, params_file(params)), recipe, out, say, warn)


def score_model(
    params: "Params",
    recipe: Path | None,
    out: Path | None,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Score the model of ``params.model`` on the suite of ``params.evaluation``.

    Args:
        params: all settings.
        recipe: the compression of the model to score; None scores the model as it is.
        out: JSON file for the results; None prints them.
        say: prints a line.
        warn: prints a warning.

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
        for line in warnings(cell):
            warn(line)
        say(summary(cell))
        _give(params, cell, out, say)


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
    check_backend(params.evaluation)
    loaded = None if recipe is None else load_recipe(recipe)
    admitted(params.model, "drop")
    manifest = manifest_of(params.model.path)
    if loaded is not None:
        check_recipe(loaded, manifest.digest, params.model.path)
    return manifest, loaded


def _give(params: "Params", cell: "Cell", out: Path | None, say: Callable[[str], None]) -> None:
    """Write the results into a file, or print them."""
    import json

    from ream.evaluation.answer_table import answers_path
    from ream.evaluation.bench import scoring_settings, versions
    from ream.evaluation.scores import Scores, write_scores

    scores = Scores(cells=[cell], settings=scoring_settings(params), versions=versions())
    if out is None:
        for line in json.dumps(scores.model_dump(), indent=1).splitlines():
            say(line)
    else:
        write_scores(out, scores)
        say(f"results: {out}, answers: {answers_path(out)}")


def _needs_items(suite: "Suite", include: Path) -> bool:
    """Whether the suite has held-out losses or demo tasks, for which the stage items writes files."""
    return bool(suite.loss) or any((include / f"{task}.yaml").exists() for task in (*suite.mc, *suite.gen))
