"""`ream apply`: write a compressed checkpoint from its recipe and the original."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ream.commands.options import KeepShards, ModelArgument, OutArgument
from ream.commands.output import say, warn
from ream.commands.request import check_shards
from ream.errors import UserError


def apply(
    model: ModelArgument,
    recipe: Annotated[Path, typer.Argument(help="The recipe of a compression: OUT/ream/recipe.ream.")],
    out: OutArgument,
    merge_dtype: Annotated[
        str | None,
        typer.Option(help="For quantised models: original or bfloat16 [default: the format of the original]."),
    ] = None,
    shard_size: Annotated[
        float | None, typer.Option(help="Fill shards up to this many GB [default: the original's shards].")
    ] = None,
    copy_code: Annotated[
        bool, typer.Option(help="Copy the original's own Python modules, too, which whoever trusts the output may run.")
    ] = False,
    keep_shards: KeepShards = None,
) -> None:
    """Write a checkpoint from its recipe and the original."""
    apply_recipe(model, recipe, out, merge_dtype, shard_size, copy_code, keep_shards, say, warn)


def apply_recipe(
    model: str,
    recipe: Path,
    out: Path,
    merge_dtype: str | None,
    shard_size: float | None,
    copy_code: bool,
    keep_shards: bool | None,
    say: Callable[[str], None],
    warn: Callable[[str], None],
) -> tuple[int, int]:
    """Write a checkpoint from its recipe and the original.

    Args:
        model: hub id or folder of the original.
        recipe: of the compression.
        out: folder to write.
        merge_dtype: for quantised originals, ``original`` or ``bfloat16``; None: ``original``.
        shard_size: GB up to which shards are filled; None: the original's shards.
        copy_code: copy the original's own Python modules.
        keep_shards: whether shards of a hub model stay in the hub's cache.
        say: prints a line.
        warn: prints a line about what may be unwelcome in the output.

    Returns:
        the parameters of the written model, and of the original.

    Raises:
        UserError: a value is not allowed, the recipe is of another model, or the folder cannot be written.
    """
    from ream.models.inspection.admission import admit
    from ream.models.inspection.manifest import source_of
    from ream.recipe.multi_token import drops_multi_token
    from ream.recipe.output import check_recipe, write_checkpoint
    from ream.recipe.output_companions import remarks
    from ream.recipe.recipe_file import load_recipe
    from ream.recipe.room import check_room, checkpoint_bytes

    _check_options(model, out, merge_dtype, shard_size, keep_shards)
    loaded, source = load_recipe(recipe), source_of(model, keep_shards is not False)
    admitted = admit(source, "drop", against_code=False)
    checkpoint, dropped = admitted.checkpoint, drops_multi_token(admitted.architecture, loaded)
    admitted = admit(checkpoint, "drop" if dropped else "compress", against_code=True)
    for remark in remarks(checkpoint, copy_code, "--copy-code"):
        warn(remark)
    check_recipe(loaded, checkpoint.digest(), model)
    unquantised = merge_dtype == "bfloat16"
    check_room(out, checkpoint_bytes(checkpoint, admitted.architecture, loaded, unquantised), "the compressed model")
    parameters = write_checkpoint(
        checkpoint,
        admitted.architecture,
        loaded,
        out,
        unquantised=unquantised,
        shard_gb=shard_size,
        trust_remote_code=copy_code,
    )
    say(f"{out}: {parameters:,} parameters; the original has {checkpoint.parameters:,}")
    return parameters, checkpoint.parameters


def _check_options(
    model: str, out: Path, merge_dtype: str | None, shard_size: float | None, keep_shards: bool | None
) -> None:
    """Refuse an output that is there already, shards that cannot be fetched again, and a dtype or size that is none."""
    from ream.recipe.output import check_output

    check_shards(model, keep_shards)
    check_output(out)
    if shard_size is not None and shard_size <= 0:
        raise UserError(f"--shard-size: {shard_size} is not a size; give a number of GB above 0, or leave it out")
    if merge_dtype not in (None, "original", "bfloat16"):
        raise UserError(
            f"--merge-dtype: '{merge_dtype}' is neither original nor bfloat16; give one of them, or leave it out"
        )
