"""Stage evaluate: score the original, or the model of one recipe."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ream.core.recipe import Recipe
from ream.evaluation.backends.abilities import check_recipes
from ream.evaluation.bench import Bench, Scored, scoring_settings, versions
from ream.evaluation.scores import Cell, Scores, write_scores
from ream.evaluation.told import told
from ream.machine.files import file_digest, locked
from ream.params import Params
from ream.workspace.layout import TASKS, Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import open_original
from ream.workspace.recipes import read_recipe
from ream.workspace.side_by_side import ANSWERS, companions, depends_on, keep, kept


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Score the original (no mix), or the model of a recipe.

    A killed run keeps the results of finished tasks and goes on after them, if the recipe, the settings, the code and
    the versions of the libraries are the same. A run that has ended keeps nothing of its own model. With the backend
    layers, it walks the other models of the mix that wait for their stages along (`ream.workspace.side_by_side`).

    Raises:
        UserError: see `Harness` and `read_recipe`; or the backend cannot make the graph's models.
    """
    check_recipes("each model of the graph", params.evaluation)
    original = open_original(workspace)
    bench = Bench(
        params,
        workspace.windows,
        original.checkpoint,
        original.architecture,
        digest=original.manifest.digest,
        scratch=workspace.scratch,
    )
    if not options.mix:
        made_with = _made_with("original", workspace, options)
        own = Scored(None, workspace.state("evaluate", "original"), made_with, workspace.original_answers)
        return _scored(params, bench, [own], workspace.original_evaluation)
    mix, method, experts = options.cell
    recipe = read_recipe(params, workspace, original.manifest, mix, method, experts)
    own = _model(workspace, options, method, experts, recipe, workspace.answers(mix, method, experts))
    out = workspace.evaluation(mix, method, experts)
    if params.evaluation.backend != "layers":
        return _scored(params, bench, [own], out)
    with locked(workspace.state("evaluate-together", mix), wait=True):  # who waits finds its scores
        found = kept(_state(own), _fingerprint(bench, own))
        if found is not None:
            return _taken(params, found, own, out)
        others = []
        for other, size, waiting in companions(params, workspace, original.manifest, mix, method, experts):
            answers = workspace.state("evaluate", mix, other, str(size)) / ANSWERS
            others.append(_model(workspace, options, other, size, waiting, answers))
        return _scored(params, bench, [own, *others], out)


def _model(
    workspace: Workspace, options: StageOptions, method: str, experts: int, recipe: Recipe, answers: Path
) -> Scored:
    """A model of the mix, with the folder of its unfinished work and a file for its answers."""
    state = workspace.state("evaluate", options.mix, method, str(experts))
    digest = file_digest(workspace.recipe(options.mix, method, experts))
    return Scored(recipe, state, _made_with(digest, workspace, options), answers)


def _made_with(identity: str, workspace: Workspace, options: StageOptions) -> str:
    """What a stored result was made with: the model, the code and the tasks."""
    tasks = file_digest(workspace.input(TASKS)) if workspace.input(TASKS).exists() else ""
    return f"{identity}/{options.code}/{tasks}"


def _state(model: Scored) -> Path:
    """The folder of a model's unfinished work, which all models of the graph have."""
    assert model.state is not None
    return model.state


def _fingerprint(bench: Bench, model: Scored) -> str:
    """What the scores of a model depend on."""
    settings = [bench.harness.settings, bench.params.merge.model_dump(), bench.params.compute.model_dump()]
    return depends_on(settings, f"{bench.digest}/{model.identity}", bench.windows_file)


def _scored(params: Params, bench: Bench, models: Sequence[Scored], out: Path) -> str:
    """Score models; write the scores of the first into its file, and keep those of the others for their stages."""
    own, told_of_own = models[0], ""
    finished = bench.finished(_state(own), own.identity)
    for model, cell in zip(models, bench.score_all(models), strict=True):
        if model is own:
            _write(params, cell, out)
            told_of_own = told(cell, finished)
        else:
            keep(_state(model), _fingerprint(bench, model), cell)
            shutil.rmtree(_state(model) / "walk", ignore_errors=True)
    shutil.rmtree(_state(own), ignore_errors=True)
    return told_of_own


def _taken(params: Params, cell: Cell, own: Scored, out: Path) -> str:
    """Write the scores that another stage has kept."""
    assert own.answers is not None
    own.answers.parent.mkdir(parents=True, exist_ok=True)
    os.replace(_state(own) / ANSWERS, own.answers)
    _write(params, cell, out)
    shutil.rmtree(_state(own), ignore_errors=True)
    return f"{told(cell, [])}\nwalked side by side with another model of the mix"


def _write(params: Params, cell: Cell, out: Path) -> None:
    """Write the scores of one model."""
    write_scores(out, Scores(cells=[cell], settings=scoring_settings(params), versions=versions()))
