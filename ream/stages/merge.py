"""Stage merge: write the checkpoint that a recipe describes."""

import shutil
from collections.abc import Mapping
from typing import Any

from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.options import StageOptions


def run(params: Params, workspace: Workspace, options: StageOptions) -> str:
    """Write the checkpoint of one entry of the section exports.

    Raises:
        UserError: there is no such entry, or see `write_checkpoint`.
    """
    from ream.errors import unknown
    from ream.recipe.output import write_checkpoint
    from ream.recipe.room import check_room, checkpoint_bytes
    from ream.workspace.original import open_original
    from ream.workspace.recipes import read_recipe

    if options.export not in params.exports:
        raise unknown("export", options.export, params.exports, "params 'exports'")
    cell, out = params.exports[options.export], workspace.export(options.export)
    original = open_original(workspace, params.model.keep_shards)
    recipe = read_recipe(params, workspace, original.manifest, cell.mix, cell.method, cell.experts)
    unquantised = params.merge.dtype != "original"
    check_room(
        out, checkpoint_bytes(original.checkpoint, original.architecture, recipe, unquantised), f"export {out.name}"
    )
    if out.exists():  # DVC removes it before the stage; a stage that is run by hand replaces it
        shutil.rmtree(out)
    parameters = write_checkpoint(
        original.checkpoint,
        original.architecture,
        recipe,
        out,
        known_scores(workspace, cell.mix, cell.method, cell.experts),
        unquantised=unquantised,
        shard_gb=params.merge.shard_gb,
        trust_remote_code=params.model.trust_remote_code,
    )
    write_fidelity(workspace, options.export, recipe.facts)
    return f"{out}: {parameters:,} parameters; the original has {original.manifest.parameters:,}"


def write_fidelity(workspace: Workspace, export: str, facts: Mapping[str, Any]) -> None:
    """Put the fidelity of an export into its card, where the stage fidelity knows one.

    Args:
        workspace: of the graph.
        export: its name.
        facts: of its recipe, with the original's name and the tokens of a sequence.

    Raises:
        UserError: the file of the fidelity is missing or damaged.
    """
    from ream.evaluation.fidelity_card import CARD, write_into_card
    from ream.evaluation.fidelity_records import read_fidelity

    fidelity = read_fidelity(workspace.fidelity(export))
    if fidelity is not None:
        write_into_card(workspace.export(export) / CARD, fidelity, str(facts["model"]), int(facts["tokens"]))


def known_scores(workspace: Workspace, mix: str, method: str, experts: int) -> dict[str, Any] | None:
    """Mean held-out loss, MC, GEN and AVG of a cell; None where it has not been evaluated."""
    from ream.evaluation.scores import read_scores

    path = workspace.evaluation(mix, method, experts)
    if not path.exists():
        return None
    cell = read_scores(path).cells[0]
    values = {"held-out loss": cell.mean_loss, "MC": cell.mc, "GEN": cell.gen, "AVG": cell.avg}
    return {name: round(value, 4) for name, value in values.items() if value is not None}
