"""`ream verify`: whether a written model is still what was written, and whether its parts fit together."""

import hashlib
import json
import re
from pathlib import Path

from ream.core.recipe import Recipe, check_layer
from ream.errors import UserError
from ream.machine.documents import read_text
from ream.machine.files import file_digest
from ream.machine.progress import QUIET_SECONDS, Progress
from ream.machine.units import bytes_shown
from ream.models.family.architecture import Architecture
from ream.models.family.families import family_of
from ream.models.inspection.admission import admit
from ream.models.storage.checkpoint import INDEX, Checkpoint, TensorInfo
from ream.models.storage.finite import BLOCK_BYTES
from ream.models.storage.shard_header import shown
from ream.models.storage.shard_names import read_index
from ream.models.stored_dtypes import is_finite
from ream.recipe.config import compressed_config
from ream.recipe.contents import CONTENTS, FORMER_RECIPE, RECIPE, Contents, read_contents, recipe_name
from ream.recipe.recipe_file import load_recipe

AGAIN = "write the model again from the original and its recipe: ream apply MODEL RECIPE OUT"

FORMER_PLACE = f"; beside the shards, where vLLM may take it for one: move it to {RECIPE}"


def verify(folder: Path) -> dict[str, str]:
    """Check a finished output: config, recipe, index, headers, shapes, dtypes, hashes, and that all values are finite.

    Every byte of the shards is read once, a block at a time.

    Args:
        folder: the output.

    Returns:
        What was checked, for people: a name and a line each.

    Raises:
        UserError: the first problem; names the file or tensor and says what to do.
    """
    contents = read_contents(folder)
    recipe_path = folder / recipe_name(folder)
    recipe = load_recipe(recipe_path)
    checkpoint = Checkpoint(folder)
    _check_config(checkpoint, recipe, recipe_path)
    architecture = admit(checkpoint, against_code=False).architecture
    _check_recipe(recipe, architecture, recipe_path)
    _check_dtypes(checkpoint, architecture)
    total = _check_tensors(checkpoint, contents)
    _check_index(checkpoint, total)
    _check_recipe_hash(recipe_path, contents)
    others = {*contents.files, *([INDEX] if (folder / INDEX).exists() else [])} - {RECIPE, FORMER_RECIPE}
    for name in sorted(others - checkpoint.headers.keys()):
        _check_hash(folder, name, contents, file_digest(folder / name) if (folder / name).is_file() else None)
    with Progress(len(checkpoint.tensors), "verify", "tensor", delay=QUIET_SECONDS) as progress:
        for shard in checkpoint.headers:
            _check_hash(folder, shard, contents, _read_shard(checkpoint, shard, progress))
    return {
        "experts": f"{architecture.experts} in each of {len(architecture.moe_layers)} layers, as config and recipe say",
        "tensors": f"{len(checkpoint.tensors)}, {checkpoint.parameters:,} parameters, all values finite",
        "shards": f"{len(checkpoint.headers)}, {bytes_shown(total)}, unchanged since they were written (SHA-256)",
        "recipe": f"{recipe.facts['method']} on {recipe.facts['mix']}, unchanged since it was written (SHA-256)"
        + (FORMER_PLACE if recipe_path.name == str(recipe_path.relative_to(folder)) else ""),
    }


def _check_config(checkpoint: Checkpoint, recipe: Recipe, recipe_path: Path) -> None:
    """Check that config.json counts as many experts as the recipe keeps, under every key that counts them."""
    kept, path = recipe.facts.get("experts"), checkpoint.folder / "config.json"
    family = family_of(checkpoint.config, str(checkpoint.folder))
    text = read_text(path)
    if not isinstance(kept, int) or compressed_config(text, family, kept) != text:
        raise UserError(
            f"{path} gives a different number of experts than {recipe_path}, which keeps {kept}; correct it, or {AGAIN}"
        )


def _check_recipe(recipe: Recipe, architecture: Architecture, recipe_path: Path) -> None:
    """Check that the recipe is for the model's layers, experts and width."""
    if tuple(sorted(recipe.layers)) != architecture.moe_layers:
        raise UserError(
            f"{recipe_path} is for layers {sorted(recipe.layers)}, but the model's MoE layers are "
            f"{list(architecture.moe_layers)}; {AGAIN}"
        )
    for index, layer in recipe.layers.items():
        if len(layer.groups.kept) != architecture.experts:
            raise UserError(
                f"{recipe_path} keeps {len(layer.groups.kept)} experts in layer {index}, but the model has "
                f"{architecture.experts}; {AGAIN}"
            )
        try:
            check_layer(layer, recipe.facts["original_experts"], architecture.width)
        except ValueError as error:
            raise UserError(f"{recipe_path}, layer {index}: {error}; fetch it again") from None


def _check_dtypes(checkpoint: Checkpoint, architecture: Architecture) -> None:
    """Check that all experts of a layer have the same dtype and shape in tensors of one name."""
    first: dict[str, TensorInfo] = {}
    for name, role in architecture.roles.items():
        if role.expert is None:
            continue
        for info in checkpoint.headers_of(name).values():
            alike = first.setdefault(re.sub(rf"\.{role.expert}\.(?=\D)", ".*.", info.name), info)
            if (info.dtype, info.shape) != (alike.dtype, alike.shape):
                raise UserError(
                    f"{checkpoint.folder / info.shard}: {info.name} is {info.dtype} {list(info.shape)}, but "
                    f"{alike.name} is {alike.dtype} {list(alike.shape)}; {AGAIN}"
                )


def _check_tensors(checkpoint: Checkpoint, contents: Contents) -> int:
    """Check that every tensor is in one shard, that none is missing, and that no shard is surplus.

    Returns:
        The bytes of all tensors.
    """
    folder = checkpoint.folder
    entries = sum(len(json.loads(header).keys() - {"__metadata__"}) for header in checkpoint.headers.values())
    if entries != len(checkpoint.tensors):
        raise UserError(f"{folder}: {entries - len(checkpoint.tensors)} tensors are in two shards; {AGAIN}")
    if (len(checkpoint.tensors), checkpoint.parameters) != (contents.tensors, contents.parameters):
        raise UserError(
            f"{folder} has {len(checkpoint.tensors)} tensors of {checkpoint.parameters:,} parameters, but {CONTENTS} "
            f"says {contents.tensors} of {contents.parameters:,}; {AGAIN}"
        )
    surplus = {path.name for path in folder.glob("*.safetensors")} - {*checkpoint.headers, FORMER_RECIPE}
    if surplus:
        raise UserError(f"{folder / min(surplus)} is not a shard of the model; remove it")
    return sum(info.bytes for info in checkpoint.tensors.values())


def _check_index(checkpoint: Checkpoint, total: int) -> None:
    """Check that the index, where there is one, names every tensor and gives the total size in bytes."""
    path = checkpoint.folder / INDEX
    if not path.exists():
        return
    index = read_index(path)
    unnamed = checkpoint.tensors.keys() - index.weight_map.keys()
    if unnamed:
        raise UserError(f"{path} does not name {min(unnamed)}; {AGAIN}")
    if index.metadata.get("total_size", total) != total:
        raise UserError(
            f"{path} says total_size {shown(index.metadata['total_size'])}, but the tensors have {total} bytes; {AGAIN}"
        )


def _check_recipe_hash(path: Path, contents: Contents) -> None:
    """Check the recipe's SHA-256 against ream.json, which may name the place from which it has been moved since."""
    written = contents.files.get(RECIPE) or contents.files.get(FORMER_RECIPE)
    if written is None:
        raise UserError(f"{CONTENTS} does not name {path}; {AGAIN}")
    if file_digest(path) != written.sha256:
        raise UserError(f"{path} has changed since it was written (its SHA-256 is not that of {CONTENTS}); {AGAIN}")


def _check_hash(folder: Path, name: str, contents: Contents, sha256: str | None) -> None:
    """Check a file's SHA-256 (None: the file is missing) against ream.json."""
    if name not in contents.files:
        raise UserError(f"{folder / name} is not among the files of {CONTENTS}; {AGAIN}")
    if sha256 is None:
        raise UserError(f"{folder / name} is missing; {AGAIN}")
    if sha256 != contents.files[name].sha256:
        raise UserError(
            f"{folder / name} has changed since it was written (SHA-256 {sha256[:12]}, but {CONTENTS} says "
            f"{contents.files[name].sha256[:12]}); fetch it again, or {AGAIN}"
        )


def _read_shard(checkpoint: Checkpoint, shard: str, progress: Progress) -> str:
    """Read a shard and check that all its floating-point values are finite.

    Returns:
        SHA-256 of the file, in hexadecimal.
    """
    digest, place = hashlib.sha256(), 0
    tensors = [info for info in checkpoint.tensors.values() if info.shard == shard]
    with open(checkpoint.folder / shard, "rb") as file:
        for info in tensors:
            digest.update(file.read(info.begin - place))
            for begin in range(info.begin, info.end, BLOCK_BYTES):
                block = bytearray(file.read(min(BLOCK_BYTES, info.end - begin)))
                digest.update(block)
                if not is_finite(block, info.dtype):
                    raise UserError(f"{checkpoint.folder / shard}: {info.name} holds NaN or Inf; {AGAIN}")
            place = info.end
            progress.update()
        digest.update(file.read())
    return digest.hexdigest()
