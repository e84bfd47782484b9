"""Stage evaluate: score the original, or all models of one calibration mix."""

from ream.evaluation.bench import Bench, scoring_settings, summary, versions
from ream.evaluation.scores import Scores, write_scores
from ream.machine.files import file_digest
from ream.machine.progress import Progress
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions
from ream.workspace.original import open_original


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Score the original (no mix), or the recipes of a mix: every method of the run with every number of experts.

    The models of a mix share one process: importing the libraries takes longer than scoring a small model. Results of
    finished tasks are kept, and used again when the recipe, settings and versions are the same.

    Raises:
        UserError: see `Harness` and `load_recipe`.
    """
    from ream.recipe.output import check_recipe
    from ream.recipe.recipe_file import load_recipe

    original, mix = open_original(workspace), options.mix
    bench = Bench(
        params,
        workspace.windows,
        original.checkpoint,
        original.architecture,
        digest=original.manifest.digest,
        scratch=workspace.scratch,
    )
    if not mix:
        cells, out = [bench.score(None)], workspace.original_evaluation
    else:
        cells, out = [], workspace.evaluation(mix)
        grid = params.run.cells(mix)
        with Progress(len(grid), f"evaluate {mix}", "model") as progress:
            for method, experts in grid:
                path = workspace.recipe(mix, method, experts)
                recipe = load_recipe(path)
                check_recipe(recipe, original.manifest.digest, original.manifest.path)
                state = workspace.state("evaluate", mix, method, str(experts))
                cells.append(bench.score(recipe, state, file_digest(path)))
                progress.update()
    write_scores(out, Scores(cells=cells, settings=scoring_settings(params), versions=versions()))
    return "; ".join(summary(cell) for cell in cells)
