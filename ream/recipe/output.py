"""Writing the compressed checkpoint: the original's layout with fewer experts, its card and, in a folder, a recipe."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.machine.documents import read_text
from ream.machine.files import claimed, file_digest, sync
from ream.machine.unwritten import not_written
from ream.models.family.architecture import Architecture
from ream.models.quantization.config import unquantised_config
from ream.models.storage.checkpoint import INDEX, SINGLE, Checkpoint
from ream.models.storage.companions import companions
from ream.models.storage.shard_names import Index, read_index, shard_path
from ream.models.storage.shard_writing import OutputTensor, write_shard
from ream.recipe.card import model_card
from ream.recipe.config import compressed_config
from ream.recipe.contents import RECIPE, Written, write_contents
from ream.recipe.multi_token import drops_multi_token
from ream.recipe.output_companions import config_without_code, copy_companions
from ream.recipe.output_tensors import output_tensors
from ream.recipe.parameters import output_parameters
from ream.recipe.recipe_file import save_recipe
from ream.recipe.shards import refilled, releasing


@dataclass(frozen=True)
class Shards:
    """The shards of an output.

    Attributes:
        tensors: shard name to the tensors in it, in the order of their data.
        headers: shard name to the original header whose metadata is kept.
        indexed: whether an index names the shard of every tensor.
    """

    tensors: dict[str, list[OutputTensor]]
    headers: Mapping[str, bytes]
    indexed: bool


def check_output(out: Path) -> None:
    """Refuse an output folder that holds anything.

    Raises:
        UserError: it is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"output {out} exists and is not empty; choose another folder or empty it")


def check_recipe(recipe: Recipe, digest: str, where: str) -> None:
    """Refuse a recipe made from another original.

    Args:
        recipe: to be applied.
        digest: of the model's shards (`Checkpoint.digest`).
        where: the model, for the message.

    Raises:
        UserError: the digests differ.
    """
    if recipe.facts.get("digest") != digest:
        made_from = f"{recipe.facts.get('model')} (digest {str(recipe.facts.get('digest'))[:12]})"
        raise UserError(f"the recipe was made from {made_from}, but {where} is another model (digest {digest[:12]})")


def write_checkpoint(
    checkpoint: Checkpoint,
    architecture: Architecture,
    recipe: Recipe,
    out: Path,
    scores: Mapping[str, Any] | None = None,
    unquantised: bool = False,
    shard_gb: float | None = None,
    trust_remote_code: bool = False,
) -> int:
    """Write the compressed model into a new folder; nothing is left at ``out`` unless everything was written.

    Args:
        checkpoint: the original.
        architecture: of the original.
        recipe: what becomes of the experts.
        out: a folder that does not exist or is empty.
        scores: evaluation of this very model, for its card.
        unquantised: write a quantised original's tensors in bfloat16.
        shard_gb: GB (10⁹ bytes) up to which shards are filled; None keeps the original's shards, with fewer tensors.
        trust_remote_code: whether the original's own code may run; only then is it copied.

    Returns:
        The number of parameters of the compressed model.

    Raises:
        UserError: the folder is not empty, the recipe does not fit, a tensor is damaged, a file beside the weights is a
            link out of the original, or the disk is full.
    """
    check_output(out)
    shards = _shards(checkpoint, output_tensors(checkpoint, architecture, recipe, unquantised), shard_gb)
    decoded, dropped = unquantised and checkpoint.form is not None, drops_multi_token(architecture, recipe)
    config = _config(checkpoint, architecture, recipe, decoded, dropped)
    config = config if trust_remote_code else config_without_code(config)
    beside = companions(checkpoint.folder, not decoded, trust_remote_code)
    parameters = output_parameters(checkpoint, architecture, recipe)
    with _taking_the_place_of(out) as partial:
        written = {}
        for shard, tensors in releasing(shards.tensors, checkpoint.source.drop).items():
            path = shard_path(partial, shard)
            sha256 = write_shard(path, tensors, shards.headers[shard])
            written[shard] = Written(path.stat().st_size, sha256)
        copy_companions(beside, checkpoint.folder, partial, trust_remote_code)
        (partial / "config.json").write_text(config, encoding="utf-8")
        save_recipe(partial / RECIPE, recipe)
        written[RECIPE] = Written((partial / RECIPE).stat().st_size, file_digest(partial / RECIPE))
        proof = _proof(checkpoint, architecture)
        card = model_card(recipe, checkpoint.parameters, parameters, scores, decoded, dropped, shard_gb, proof)
        (partial / "README.md").write_text(card, encoding="utf-8")
        _write_contents_and_index(checkpoint, partial, shards, parameters, written)
    return parameters


def _proof(checkpoint: Checkpoint, architecture: Architecture) -> str | None:
    """What was proved of a derived family, for the card; None of a family with an entry."""
    if not architecture.family.derived:
        return None
    from ream.models.family.derived.proof import prove

    return prove(checkpoint, architecture).lasting


def _shards(checkpoint: Checkpoint, tensors: dict[str, list[OutputTensor]], shard_gb: float | None) -> Shards:
    """The original's shards, or the same tensors filled into shards of another size."""
    if shard_gb is None:
        return Shards(tensors, checkpoint.headers, checkpoint.indexed)
    filled = refilled((tensor for shard in tensors.values() for tensor in shard), shard_gb * 1e9)
    header = next(iter(checkpoint.headers.values()))  # for its metadata
    return Shards(filled, dict.fromkeys(filled, header), list(filled) != [SINGLE])


def _config(checkpoint: Checkpoint, architecture: Architecture, recipe: Recipe, decoded: bool, dropped: bool) -> str:
    """config.json of the output."""
    text = read_text(checkpoint.folder / "config.json")
    kept = len(next(iter(recipe.layers.values())).groups.kept)
    config = compressed_config(text, architecture.family, kept, dropped)
    return unquantised_config(config) if decoded else config


@contextmanager
def _taking_the_place_of(out: Path) -> Iterator[Path]:
    """A new folder beside ``out``, held by this process alone, that becomes ``out`` when the block succeeds.

    Its name is the same for every process, unlike in `files.building`: what a killed run has left of a model of
    hundreds of GB is removed by the next one.

    Raises:
        UserError: another run is writing it, or the disk is full; nothing is left then.
    """
    partial = out.with_name(f".{out.name}.partial")
    try:
        with claimed(partial):
            try:
                for path in partial.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                yield partial
                for path in partial.rglob("*"):
                    sync(path)
                sync(partial)
                if out.exists():
                    out.rmdir()
                os.replace(partial, out)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    except OSError as error:
        raise not_written(out, error) from error


def _write_contents_and_index(
    checkpoint: Checkpoint, folder: Path, shards: Shards, parameters: int, written: Mapping[str, Written]
) -> None:
    """Write ream.json and, where there is one, the index, which is the last file of all."""
    weight_map = {tensor.name: shard for shard, tensors in shards.tensors.items() for tensor in tensors}
    if not shards.indexed:
        write_contents(folder, len(weight_map), parameters, written)
        return
    size = sum(tensor.bytes for tensors in shards.tensors.values() for tensor in tensors)
    index = _index(checkpoint.folder / INDEX, weight_map, size, parameters).encode()
    of_index = Written(len(index), hashlib.sha256(index).hexdigest())
    write_contents(folder, len(weight_map), parameters, {**written, INDEX: of_index})
    (folder / INDEX).write_bytes(index)


def _index(original: Path, weight_map: dict[str, str], size: int, parameters: int) -> str:
    """The index of the output; the original's text where its names and size are right.

    Args:
        original: path of the original's index, which may be missing.
        weight_map: tensor name to shard name.
        size: bytes of all tensors.
        parameters: of the output.
    """
    index = read_index(original) if original.exists() else Index({}, {})
    if index.weight_map == weight_map and index.metadata.get("total_size", size) == size:
        return read_text(original)
    metadata = {**index.metadata, "total_size": size}
    if "total_parameters" in metadata:
        metadata["total_parameters"] = parameters
    content = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
