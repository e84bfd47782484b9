"""The scores of all models of the grid."""

from ream.evaluation.scores import Cell, ordered, read_scores
from ream.params import Params
from ream.workspace.layout import Workspace


def read_cells(params: Params, workspace: Workspace) -> list[Cell]:
    """The scores of the original and of all models of the grid, in the order of the params file.

    Raises:
        UserError: an evaluation is missing or damaged.
    """
    grid = [(mix, *cell) for mix in params.run.mixes for cell in params.run.cells(mix)]
    paths = [workspace.original_evaluation, *(workspace.evaluation(*cell) for cell in grid)]
    cells = [cell for path in paths for cell in read_scores(path).cells]
    return ordered(cells, params.run.mixes, params.run.methods(), params.run.experts)
