"""`ream evaluate`: score one model outside of the graph."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ream.commands.options import ModelArgument, ParamsFile, Settings
from ream.commands.output import say
from ream.commands.request import ScoreRequest, params_file, scoring

if TYPE_CHECKING:
    from ream.params import Params, Suite


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
        limit=limit,
        allow_code_execution=allow_code_execution,
        settings=tuple(settings or ()),
    )
    score_model(scoring(request, params_file(params)), recipe, out, say)


def score_model(params: "Params", recipe: Path | None, out: Path | None, say: Callable[[str], None]) -> None:
    """Score the model of ``params.model`` on the suite of ``params.evaluation``.

    Args:
        params: all settings.
        recipe: the compression of the model to score; None scores the model as it is.
        out: JSON file for the results; None prints them.
        say: prints a line.

    Raises:
        UserError: the recipe is of another model, or what the stages refuse.
    """
    import json

    from ream.evaluation.bench import Bench, scoring_settings, summary, versions
    from ream.evaluation.scores import Scores, write_scores
    from ream.evaluation.settings import check_backend
    from ream.evaluation.suite_checks import check_suite
    from ream.machine.scratch import scratch, without_workspace
    from ream.machine.unwritten import check_replaceable
    from ream.models.inspection.manifest import manifest_of
    from ream.recipe.output import check_recipe
    from ream.recipe.recipe_file import load_recipe
    from ream.stages import items
    from ream.workspace.layout import Workspace
    from ream.workspace.options import StageOptions
    from ream.workspace.original import admitted, open_original

    if out is not None:
        check_replaceable(out)
    suite, evaluation = params.suites[params.evaluation.suite], params.evaluation
    check_suite(suite, evaluation)
    check_backend(evaluation.backend)
    loaded = None if recipe is None else load_recipe(recipe)
    admitted(params.model, "drop")
    manifest = manifest_of(params.model.path)
    if loaded is not None:
        check_recipe(loaded, manifest.digest, params.model.path)
    with scratch(without_workspace()) as folder:
        workspace = Workspace(folder)
        manifest.save(workspace.manifest)
        if _needs_items(suite, Path(evaluation.include)):
            say(items.run(params, workspace, StageOptions()))
        original = open_original(workspace)
        check_suite(suite, evaluation, original.limits)
        windows, scratch_folder = workspace.windows, workspace.scratch
        bench = Bench(params, windows, original.checkpoint, original.architecture, manifest.digest, scratch_folder)
        cell = bench.score(loaded)
    say(summary(cell))
    scores = Scores(cells=[cell], settings=scoring_settings(params), versions=versions())
    if out is None:
        for line in json.dumps(scores.model_dump(), indent=1).splitlines():
            say(line)
    else:
        write_scores(out, scores)
        say(f"results: {out}")


def _needs_items(suite: "Suite", include: Path) -> bool:
    """Whether the suite has held-out losses or demo tasks, for which the stage items writes files."""
    return bool(suite.loss) or any((include / f"{task}.yaml").exists() for task in (*suite.mc, *suite.gen))
