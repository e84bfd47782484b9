"""What `ream compress` does for one model as for several: opening the original, and writing a compressed model."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ream.commands.request import Cell
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions

if TYPE_CHECKING:
    from ream.params import Params
    from ream.workspace.original import Original


def opened(
    params: "Params", workspace: Workspace, options: StageOptions, ignore: Sequence[str], say: Callable[[str], None]
) -> "Original":
    """The original model, described in the workspace, once its sizes and the settings are known to fit.

    Args:
        params: all settings; all sizes and methods of the run are checked against the model.
        workspace: of the command.
        options: of its stages.
        ignore: layers that are to keep all experts.
        say: prints a line about the model.

    Raises:
        UserError: see `admitted`, `check_sizes`, `check_ignored`.
    """
    from ream.models.family.ignored import check_ignored
    from ream.stages import model
    from ream.stages.check import check_sizes
    from ream.workspace.original import admitted, open_original

    architecture = admitted(params.model, params.model.multi_token).architecture
    check_sizes(params, architecture)
    check_ignored(architecture, ignore)
    say(model.run(params, workspace, options))
    return open_original(workspace, params.model.keep_shards)


def write_model(
    params: "Params",
    original: "Original",
    recipe_path: Path,
    out: Path,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> None:
    """Write the checkpoint of a recipe.

    Args:
        params: all settings.
        original: the model.
        recipe_path: the recipe.
        out: folder to write.
        say: prints a line about the output.
        warn: prints a line about experts that few tokens were routed to.
    """
    from ream.compress.rarely_routed import recipe_remark
    from ream.recipe.output import write_checkpoint
    from ream.recipe.recipe_file import load_recipe

    recipe = load_recipe(recipe_path)
    parameters = write_checkpoint(
        original.checkpoint,
        original.architecture,
        recipe,
        out,
        unquantised=params.merge.dtype != "original",
        shard_gb=params.merge.shard_gb,
        trust_remote_code=params.model.trust_remote_code,
    )
    before = original.manifest.parameters
    say(f"{out}: {parameters:,} of {before:,} parameters ({parameters / before:.0%}), with a model card and the recipe")
    if rare := recipe_remark(recipe.layers):
        warn(rare)


def stage_options(cell: Cell, code: str) -> StageOptions:
    """Of every stage of a cell: an interrupted run with other settings is refused, finished layers are kept."""
    return StageOptions(
        mix=cell.mix, method=cell.method, experts=cell.experts, discard_stale=False, keep_state=True, code=code
    )
