"""Stage evaluate: score the original, or the model of one recipe."""

import shutil

from ream.evaluation.bench import Bench, scoring_settings, versions
from ream.evaluation.scores import Scores, write_scores
from ream.evaluation.told import told
from ream.machine.files import file_digest
from ream.params import Params
from ream.workspace.layout import TASKS, Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import open_original
from ream.workspace.recipes import read_recipe


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Score the original (no mix), or the model of a recipe.

    A killed run keeps the results of finished tasks and goes on after them, if the recipe, the settings, the code and
    the versions of the libraries are the same. A run that has ended keeps nothing.

    Raises:
        UserError: see `Harness` and `read_recipe`.
    """
    mix, method, experts = options.mix, options.method, options.experts
    original = open_original(workspace)
    bench = Bench(
        params,
        workspace.windows,
        original.checkpoint,
        original.architecture,
        digest=original.manifest.digest,
        scratch=workspace.scratch,
    )
    if not mix:
        recipe, identity, out = None, "original", workspace.original_evaluation
        answers, state = workspace.original_answers, workspace.state("evaluate", identity)
    else:
        answers = workspace.answers(mix, method, experts)
        out, path = workspace.evaluation(mix, method, experts), workspace.recipe(mix, method, experts)
        recipe, identity = read_recipe(params, workspace, original.manifest, mix, method, experts), file_digest(path)
        state = workspace.state("evaluate", mix, method, str(experts))
    tasks = file_digest(workspace.input(TASKS)) if workspace.input(TASKS).exists() else ""
    finished = bench.finished(state, made_with := f"{identity}/{options.code}/{tasks}")
    cell = bench.score(recipe, state, made_with, answers)
    write_scores(out, Scores(cells=[cell], settings=scoring_settings(params), versions=versions()))
    shutil.rmtree(state, ignore_errors=True)
    return told(cell, finished)
