"""`ream evaluate`: score one model outside of the graph."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ream.commands.options import ModelArgument, ParamsFile, Settings, Text, WholeText
from ream.commands.output import say, warn
from ream.commands.scoring import ScoreRequest, scoring
from ream.commands.shipped import params_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ream.core.recipe import Recipe
    from ream.evaluation.bench import Scored
    from ream.evaluation.scores import Cell, Scores
    from ream.models.inspection.manifest import Manifest
    from ream.params import Params, Suite
    from ream.recipe.provenance import Provenance


def evaluate(
    model: ModelArgument,
    suite: Annotated[str | None, typer.Option(help="A suite of the params file [default: evaluation.suite].")] = None,
    recipe: Annotated[
        list[Path] | None,
        typer.Option(
            help="Score the model compressed by this recipe, without writing it; repeatable. With --backend layers all "
            "go through the layers side by side."
        ),
    ] = None,
    with_original: Annotated[
        bool, typer.Option("--with-original", help="Score MODEL itself, too, beside its --recipe.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="JSON file for all figures; the answers go beside it.")] = None,
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

    With --text the held-out loss is that of your text and, without --suite, no multiple-choice or other tasks run.
    """
    request = ScoreRequest(
        model=model,
        suite=suite,
        backend=backend,
        endpoint=endpoint,
        endpoint_model=endpoint_model,
        limit=limit,
        allow_code_execution=allow_code_execution,
        text=tuple(text or ()),
        whole_text=whole_text,
        sequences=sequences,
        tokens=tokens,
        settings=tuple(settings or ()),
    )
    recipes = recipes_or_original(recipe or [], with_original)
    score_models(scoring(request, params_file(params)), recipes, out, say, warn)


def recipes_or_original(recipes: "Sequence[Path]", with_original: bool) -> "list[Path | None]":
    """The recipes to score, and None before them for the model as it is if that is wanted or there are no others."""
    return [*([None] if with_original or not recipes else []), *recipes]


def score_models(
    params: "Params",
    recipes: "Sequence[Path | None]",
    out: Path | None,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> "Scores":
    """Score models made from that of ``params.model`` on the suite of ``params.evaluation``.

    Args:
        params: all settings.
        recipes: the compressions of the model to score; None stands for the model as it is.
        out: JSON file for the results, if any.
        say: prints a line.
        warn: prints a warning.

    Returns:
        the scores, whose settings name the model and, of a compressed one, how it was made.

    Raises:
        UserError: a recipe is of another model, or what the stages refuse.
    """
    from ream.commands.ending import GOES_ON, noting
    from ream.commands.unfinished import identity_of, unfinished
    from ream.commands.ways import told_ways
    from ream.evaluation.bench import Bench
    from ream.evaluation.suite_checks import check_suite
    from ream.evaluation.told import again, details, summary, warnings
    from ream.machine.scratch import scratch, without_workspace
    from ream.stages import items
    from ream.workspace.layout import Workspace
    from ream.workspace.options import StageOptions
    from ream.workspace.original import open_original

    suite, evaluation = params.suites[params.evaluation.suite], params.evaluation
    manifest, loaded = _admitted(params, recipes, out)
    made = told_ways(params.model.path, recipes, say, warn)
    kept = unfinished(identity_of(params, manifest, recipes))
    with noting(GOES_ON), kept as state, scratch(without_workspace()) as folder:
        workspace = Workspace(folder)
        manifest.save(workspace.manifest)
        if _needs_items(suite, Path(evaluation.include)):
            say(items.run(params, workspace, StageOptions()))
        original = open_original(workspace)
        check_suite(suite, evaluation, original.limits)
        windows, scratch_folder = workspace.windows, workspace.scratch
        bench = Bench(params, windows, original.checkpoint, original.architecture, manifest.digest, scratch_folder)
        models = _models(loaded, state, out)
        for model in models:
            if model.state is not None and (finished := bench.finished(model.state, model.identity)):
                say(again(finished))
        cells = []
        for cell, way in zip(bench.score_all(models), made, strict=True):
            cells.append(cell if way is None else cell.model_copy(update={"mix": way.mix, "method": way.method}))
            for line in warnings(cells[-1]):
                warn(line)
            for line in (summary(cells[-1]), *details(cells[-1])):
                say(line)
        return _give(params, cells, made, out, say)


def _models(recipes: "Sequence[Recipe | None]", state: Path, out: Path | None) -> "list[Scored]":
    """The models to score, each with a folder for what is finished and a file for its answers."""
    from ream.evaluation.bench import Scored

    several = len(recipes) > 1
    answers = _answers(out, len(recipes))
    return [
        Scored(recipe, state / str(number) if several else state, f"{number}" if several else "original", file)
        for number, (recipe, file) in enumerate(zip(recipes, answers, strict=True))
    ]


def _answers(out: Path | None, count: int) -> "Sequence[Path | None]":
    """The files of the answers of so many models; None for each without a file of results."""
    from ream.evaluation.answer_table import answers_path

    if out is None:
        return [None] * count
    return [answers_path(out, number if count > 1 else None) for number in range(count)]


def _admitted(
    params: "Params", recipes: "Sequence[Path | None]", out: Path | None
) -> tuple["Manifest", "list[Recipe | None]"]:
    """The manifest of the model and the recipes; refuses what cannot be scored or written."""
    from ream.errors import UserError
    from ream.evaluation.backends.abilities import check_recipes
    from ream.evaluation.settings import check_backend
    from ream.evaluation.suite_checks import check_suite
    from ream.machine.unwritten import check_replaceable
    from ream.models.inspection.manifest import manifest_of
    from ream.recipe.output import check_recipe
    from ream.recipe.recipe_file import load_recipe
    from ream.workspace.original import admitted

    for path in (out, *_answers(out, len(recipes))):
        if path is not None:
            check_replaceable(path)
    check_suite(params.suites[params.evaluation.suite], params.evaluation)
    check_backend(params.evaluation)
    for number, recipe in enumerate(recipes):
        if recipe is not None:
            check_recipes(f"--recipe {recipe}", params.evaluation)
        if recipe in recipes[:number]:
            raise UserError(f"--recipe {recipe} is given twice; give it once")
    loaded = [None if recipe is None else load_recipe(recipe) for recipe in recipes]
    admitted(params.model, "drop")
    manifest = manifest_of(params.model.path)
    for each in loaded:
        if each is not None:
            check_recipe(each, manifest.digest, params.model.path)
    return manifest, loaded


def _give(
    params: "Params",
    cells: "Sequence[Cell]",
    made: "Sequence[Provenance | None]",
    out: Path | None,
    say: Callable[[str], None],
) -> "Scores":
    """Write the results into a file, if there is one for them."""
    from ream.evaluation.bench import scoring_settings, versions
    from ream.evaluation.scores import Scores, write_scores

    ways = [None if each is None else each.as_json() for each in made]
    described: dict[str, object] = {"path": params.model.path}
    if any(ways):
        described["made"] = ways if len(ways) > 1 else ways[0]
    scores = Scores(cells=list(cells), settings={**scoring_settings(params), "model": described}, versions=versions())
    if out is not None:
        write_scores(out, scores)
        say(f"results: {out}, answers: {', '.join(map(str, _answers(out, len(cells))))}")
    return scores


def _needs_items(suite: "Suite", include: Path) -> bool:
    """Whether the suite has held-out losses or demo tasks, for which the stage items writes files."""
    return bool(suite.loss) or any((include / f"{task}.yaml").exists() for task in (*suite.mc, *suite.gen))
