"""Stage metrics: the files behind DVC's own views, `dvc metrics`, `dvc exp show` and `dvc plots`; git keeps them.

It is not part of the stage report because DVC's cache of earlier runs takes no stage with outputs that git keeps.
"""

from collections.abc import Sequence

from ream.analysis.tables.metrics import headline, model_metrics, plot_csv
from ream.evaluation.scores import Cell
from ream.machine.files import building, replacing, write_json
from ream.params import Params
from ream.workspace.cells import read_cells
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write metrics and the data of the plots from the evaluations of the run's grid.

    Raises:
        UserError: an evaluation is missing or damaged.
    """
    cells = read_cells(params, workspace)
    write_views(cells, workspace)
    return f"{len(cells)} models: {workspace.metrics}"


def write_views(cells: Sequence[Cell], workspace: Workspace) -> None:
    """Write the headline metrics, a file of metrics for every model, and the data of the plots.

    The models' files are original.json and MIX/EXPERTS-METHOD.json, so that they are listed by mix and size; other
    files in their folder are removed.

    Args:
        cells: the evaluated models, the original among them.
        workspace: the folder of the metrics.
    """
    original = next((cell for cell in cells if cell.method is None), None)
    write_json(workspace.headline, headline(cells))
    with building(workspace.all_metrics) as made:
        for cell in cells:
            name = "original.json" if cell.method is None else f"{cell.mix}/{cell.experts}-{cell.method}.json"
            write_json(made / name, model_metrics(cell, original))
    with replacing(workspace.plots) as temporary:
        temporary.write_text(plot_csv(cells), encoding="utf-8")
