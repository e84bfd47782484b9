"""What the report answers first: the choice at each size, and the commands that write the chosen checkpoints."""

import shlex
from collections.abc import Sequence

from ream.analysis.contents import Results
from ream.analysis.html.answer import Answer, advice
from ream.analysis.html.drawings import Drawing
from ream.analysis.numbers.choice import Choice, worth_considering
from ream.analysis.results.rows import Row
from ream.analysis.tables.candidates import table_of_candidates
from ream.models.inspection.manifest import load_manifest
from ream.params import Params
from ream.workspace.layout import Workspace


def answer_of(
    params: Params, workspace: Workspace, results: Results, made: Sequence[Choice], drawing: Drawing
) -> Answer:
    """The first screen of the page.

    Args:
        params: all settings.
        workspace: where the recipes lie.
        results: all results; the original is among the cells.
        made: the choices, from large to small.
        drawing: quality against size.
    """
    original = next(cell for cell in results.cells if cell.method is None)
    return Answer(
        advice(made, original, lambda row: apply_command(params, workspace, row)),
        drawing,
        table_of_candidates(worth_considering(made), original),
    )


def apply_command(params: Params, workspace: Workspace, row: Row) -> str:
    """The command that writes a model's checkpoint as it was evaluated, from the folder of the workspace.

    Args:
        params: all settings.
        workspace: where the recipes lie.
        row: a model of ours.
    """
    manifest = load_manifest(workspace.manifest)
    model = manifest.path if manifest.revision is None else f"{manifest.path}@{manifest.revision}"
    recipe = workspace.recipe(row.called, row.method, row.experts)
    name = manifest.path.rstrip("/").rsplit("/", 1)[-1]
    words = ["ream", "apply", model, str(recipe), f"{name}-{row.method}-{row.experts}"]
    if params.merge.dtype != "original":
        words += ["--merge-dtype", params.merge.dtype]
    if params.merge.shard_gb is not None:
        words += ["--shard-size", f"{params.merge.shard_gb:g}"]
    return shlex.join(words)
