"""The scores of all models of the grid."""

from ream.evaluation.scores import Cell, ordered, read_scores
from ream.params import Params
from ream.workspace.layout import Workspace


def read_cells(params: Params, workspace: Workspace) -> list[Cell]:
    """The scores of the original and of all models of the grid, in the order of the params file.

    Raises:
        UserError: an evaluation is missing or damaged.
    """
    paths = [workspace.original_evaluation, *(workspace.evaluation(mix) for mix in params.run.mixes)]
    cells = [cell for path in paths for cell in read_scores(path).cells]
    return ordered(cells, params.run.mixes, params.run.methods(), params.run.experts)
