"""`ream.compress`, `ream.apply` and `ream.verify`: models that are written, or were."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ream.api.arguments import Lines, Say, Text, mix_of, path_of, settings_of, texts_of
from ream.api.results import Compressed, Verified
from ream.commands.apply import apply_recipe
from ream.commands.compress import compress_model
from ream.commands.request import Request, check_shards, requested
from ream.commands.shipped import params_file
from ream.machine.sharing import share_cores
from ream.models.inspection.headers import open_headers
from ream.recipe.contents import read_contents, recipe_name
from ream.recipe.provenance import provenance_of
from ream.recipe.recipe_file import load_recipe
from ream.recipe.verify import verify as verified


def compress(
    model: str | Path,
    out: str | Path,
    *,
    experts: int,
    method: str = "ream",
    text: Text = (),
    mix: str | Mapping[str, float] | None = None,
    calibration: str | Path | None = None,
    group_size: int | None = None,
    sequences: int | None = None,
    tokens: int | None = None,
    device: str | None = None,
    keep_shards: bool | None = None,
    ignore: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    params: str | Path | None = None,
    say: Say | None = None,
) -> Compressed:
    """Compress a model and write it, as `ream compress` does; called again, an interrupted run goes on.

    Args:
        model: hub id (``owner/name``, optional ``@revision``) or folder.
        out: folder to write; must be empty or not exist yet.
        experts: K, the experts to keep in every layer.
        method: a method of the params file.
        text: own text to calibrate on, as ``PATH[:COLUMN][=NAME]``: files, folders or glob patterns.
        mix: ratio of each source, or the name of a mix; without it, the texts in equal parts, or ``balanced``.
        calibration: Parquet file of own tokens, in place of text.
        group_size: C, the most experts that a centroid absorbs.
        sequences: calibration sequences, of all sources together.
        tokens: of a sequence.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        keep_shards: keep the shards of a hub model in the hub's cache.
        ignore: layers that keep all experts.
        settings: any other settings, such as ``{"compute.threads": 4}``.
        params: params file or preset; without it ./params.yaml, else the settings that ream ships.
        say: called with a line about each step, such as ``print``.

    Raises:
        UserError: the input is wrong, the machine has no room, or an interrupted run had other settings.
    """
    request = Request(
        model=str(model),
        out=Path(out),
        experts=experts,
        method=method,
        mix=mix_of(mix),
        calibration=path_of(calibration),
        text=texts_of(text),
        group_size=group_size,
        sequences=sequences,
        tokens=tokens,
        device=device,
        keep_shards=keep_shards,
        settings=settings_of(settings),
        ignore=tuple(ignore),
    )
    return _compressed(request, path_of(params), say)


def _compressed(request: Request, params: Path | None, say: Say | None) -> Compressed:
    """Compress a model as it is asked for."""
    share_cores()
    check_shards(request.model, request.keep_shards)
    path, lines, warnings = params_file(params), Lines(say), Lines(say)
    compress_model(request, path, lines, warnings)
    model = requested(request, path)[0].model
    before = open_headers(model.path, model.multi_token, model.trust_remote_code, against_code=False)
    return _written(request.out, before.parts.all.parameters, lines, warnings)


def apply(
    model: str | Path,
    recipe: str | Path,
    out: str | Path,
    *,
    merge_dtype: str | None = None,
    shard_size: float | None = None,
    copy_code: bool = False,
    keep_shards: bool | None = None,
    say: Say | None = None,
) -> Compressed:
    """Write a compressed model again from its recipe and the original, as `ream apply` does.

    Args:
        model: hub id or folder of the original.
        recipe: of a compression, ``OUT/ream/recipe.ream``.
        out: folder to write; must be empty or not exist yet.
        merge_dtype: for quantised originals, ``original`` or ``bfloat16``.
        shard_size: fill shards up to this many GB; None: the original's shards.
        copy_code: copy the original's own Python modules, too.
        keep_shards: keep the shards of a hub model in the hub's cache.
        say: called with lines, such as ``print``.

    Raises:
        UserError: the recipe is damaged or of another model, or the folder cannot be written.
    """
    share_cores()
    lines, warnings = Lines(say), Lines(say)
    _, before = apply_recipe(
        str(model), Path(recipe), Path(out), merge_dtype, shard_size, copy_code, keep_shards, lines, warnings
    )
    return _written(Path(out), before, lines, warnings)


def verify(out: str | Path) -> Verified:
    """Check a model that ream has written, as `ream verify` does: every file, tensor and value.

    Args:
        out: its folder.

    Raises:
        UserError: the first problem; names the file or tensor.
    """
    folder = Path(out)
    figures = verified(folder)
    return Verified(folder, provenance_of(folder / recipe_name(folder)), figures)


def _written(out: Path, before: int, lines: Lines, warnings: Lines) -> Compressed:
    """What was written into a folder."""
    path = out / recipe_name(out)
    return Compressed(
        out=out,
        recipe=load_recipe(path),
        recipe_path=path,
        made=provenance_of(path),
        parameters=read_contents(out).parameters,
        parameters_before=before,
        lines=tuple(lines.kept),
        warnings=tuple(warnings.kept),
    )
