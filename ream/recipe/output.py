"""Writing the compressed checkpoint: the original's layout with fewer experts, its card and its recipe beside it."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from ream.core.recipe import Recipe
from ream.errors import UserError
from ream.machine.files import claimed, file_digest, sync
from ream.models.family.architecture import Architecture
from ream.models.quantization.config import unquantised_config
from ream.models.storage.checkpoint import INDEX, SINGLE, Checkpoint
from ream.models.storage.shard_writing import write_shard
from ream.recipe.apply import compressed_config, drops_multi_token, output_parameters, output_tensors
from ream.recipe.contents import CONTENTS, Written, write_contents
from ream.recipe.recipe_file import save_recipe
from ream.recipe.shards import refilled, releasing

RECIPE = "recipe.safetensors"
# What transformers, vLLM and converters look for beside the weights.
COMPANIONS = ("*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken", "*.py", "LICENSE*", "chat_templates")


def check_output(out: Path) -> None:
    """Refuse an output folder that holds anything.

    Raises:
        UserError: it is a file, or a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"output {out} exists and is not empty; choose another folder or empty it")


def check_recipe(recipe: Recipe, digest: str, where: str) -> None:
    """Refuse a recipe made from another original.

    Raises:
        UserError: the digests of the shards differ.
    """
    if recipe.facts.get("digest") != digest:
        made_from = f"{recipe.facts.get('model')} (digest {str(recipe.facts.get('digest'))[:12]})"
        raise UserError(f"the recipe was made from {made_from}, {where} is another model (digest {digest[:12]})")


def write_checkpoint(
    checkpoint: Checkpoint,
    architecture: Architecture,
    recipe: Recipe,
    out: Path,
    scores: Mapping[str, Any] | None = None,
    unquantised: bool = False,
    shard_gb: float | None = None,
) -> int:
    """Write the compressed model into a new folder; nothing is left at ``out`` unless all of it is.

    Args:
        checkpoint: the original. architecture: what it is.
        recipe: what becomes of its experts.
        out: a folder that does not exist or is empty.
        scores: evaluation of this very model, for its card.
        unquantised: write a quantised original's tensors in bfloat16.
        shard_gb: GB (10^9 bytes) up to which shards are filled; None keeps the original's, with fewer tensors.

    Returns:
        Parameters of the compressed model.

    Raises:
        UserError: the folder is not empty, the recipe does not fit, a tensor is damaged, or the disk is full.
    """
    check_output(out)
    shards = output_tensors(checkpoint, architecture, recipe, unquantised)
    headers, indexed = checkpoint.headers, (checkpoint.folder / INDEX).exists()
    if shard_gb is not None:
        shards = refilled((tensor for shard in shards.values() for tensor in shard), shard_gb * 1e9)
        indexed = list(shards) != [SINGLE]
        headers = dict.fromkeys(shards, next(iter(headers.values())))  # for its metadata
    kept = len(next(iter(recipe.layers.values())).groups.kept)
    config = compressed_config(
        (checkpoint.folder / "config.json").read_text(encoding="utf-8"),
        architecture.family,
        kept,
        drops_multi_token(architecture, recipe),
    )
    decoded, dropped = unquantised and checkpoint.form is not None, drops_multi_token(architecture, recipe)
    if decoded:
        config = unquantised_config(config)
    weight_map = {tensor.name: shard for shard, tensors in shards.items() for tensor in tensors}
    parameters = output_parameters(checkpoint, architecture, recipe)
    shards = releasing(shards, checkpoint.source.drop)
    with _taking_the_place_of(out) as partial:
        written = {}
        for shard, tensors in shards.items():
            sha256 = write_shard(partial / shard, tensors, headers[shard])
            written[shard] = Written((partial / shard).stat().st_size, sha256)
        _copy_companions(checkpoint.folder, partial)
        (partial / "config.json").write_text(config, encoding="utf-8")
        save_recipe(partial / RECIPE, recipe)
        written[RECIPE] = Written((partial / RECIPE).stat().st_size, file_digest(partial / RECIPE))
        (partial / "README.md").write_text(
            model_card(recipe, checkpoint.parameters, parameters, scores, decoded, dropped, shard_gb), encoding="utf-8"
        )
        if indexed:
            size = sum(tensor.bytes for tensors in shards.values() for tensor in tensors)
            index = _index(checkpoint.folder / INDEX, weight_map, size, parameters).encode()
            written[INDEX] = Written(len(index), hashlib.sha256(index).hexdigest())
            write_contents(partial, len(weight_map), parameters, written)
            (partial / INDEX).write_bytes(index)
        else:
            write_contents(partial, len(weight_map), parameters, written)
    return parameters


@contextmanager
def _taking_the_place_of(out: Path) -> Iterator[Path]:
    """A new folder beside ``out``, this process's own, that becomes ``out`` when the block ends well.

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
        raise UserError(f"{out} cannot be written: {error.strerror}; free space or choose another folder") from error


def _copy_companions(source: Path, out: Path) -> None:
    for pattern in COMPANIONS:
        for path in sorted(source.glob(pattern)):
            if path.name in (INDEX, "config.json", CONTENTS):
                continue
            if path.is_dir():
                shutil.copytree(path, out / path.name)
            else:
                shutil.copyfile(path, out / path.name)


def _index(original: Path, weight_map: dict[str, str], size: int, parameters: int) -> str:
    text = original.read_text(encoding="utf-8") if original.exists() else '{"weight_map": {}}'
    index = json.loads(text)
    if index["weight_map"] == weight_map:
        return text
    metadata = index.get("metadata", {}) | {"total_size": size}
    if "total_parameters" in metadata:
        metadata["total_parameters"] = parameters
    index = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(index, indent=1, ensure_ascii=False) + "\n"


def model_card(
    recipe: Recipe,
    before: int,
    after: int,
    scores: Mapping[str, Any] | None,
    decoded: bool = False,
    dropped: bool = False,
    shard_gb: float | None = None,
) -> str:
    """README.md of a compressed model: a YAML header for the hub, what was done, what it scored where that is known.

    Args:
        recipe: by which it was made. before, after: parameters.
        scores: evaluation of this very model.
        decoded: the original is quantised and this model is in bfloat16.
        dropped: the original's multi-token layers are left out.
        shard_gb: as `write_checkpoint` was given it.
    """
    facts = recipe.facts
    header: dict[str, Any] = {
        "base_model": facts["model"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["ream", "moe", "expert-merging" if _merges(recipe) else "expert-pruning"],
        "ream": {
            "method": facts["method"],
            "mix": facts["mix"],
            "ratios": facts["ratios"],
            "experts": facts["experts"],
            "original_experts": facts["original_experts"],
        },
    }
    if scores:
        header["ream"]["scores"] = dict(scores)
    ratios = ", ".join(f"{source} {ratio:.2f}" for source, ratio in facts["ratios"].items())
    done = "merged into" if _merges(recipe) else "removed, leaving"
    refitted = chosen = ""
    kind = "of [REAM](https://arxiv.org/abs/2604.04356)"
    beyond = "of ream, which goes beyond the paper on [REAM](https://arxiv.org/abs/2604.04356)"
    if any(layer.neurons for layer in recipe.layers.values()):
        chosen = (
            "Instead of a mean, each kept expert consists of those neurons of its group's experts that do most, and "
            "its router row is the weighted mean of theirs. "
        )
        kind = beyond
    if corrected := sum(len(layer.corrections) for layer in recipe.layers.values()):
        refitted = (
            f"Then the down projections of {corrected} kept experts were refitted by least squares, so that each layer "
            "comes closer to the original's output on the calibration text. "
        )
        if any(layer.corrected - {"down"} for layer in recipe.layers.values()):
            refitted += "All their projections were fitted further to the same end, layer by layer, by iterations. "
        kind = beyond
    rest = "All other tensors are the original's, byte for byte"
    rest += ", but for those that were quantised: these are decoded to bfloat16." if decoded else "."
    if dropped:
        rest += " Its layers for multi-token prediction are left out."
    options = (" --merge-dtype bfloat16" if decoded else "") + (f" --shard-size {shard_gb:g}" if shard_gb else "")
    lines = [
        "---",
        yaml.safe_dump(header, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {facts['model']} with {facts['experts']} of {facts['original_experts']} experts",
        "",
        f"The routed experts of every Mixture-of-Experts layer were {done} {facts['experts']} by the method "
        f"`{facts['method']}` {kind}, without training; the routers lost the rows of experts that are gone. "
        f"{chosen}{refitted}{rest}",
        "",
        "| | original | this model |",
        "| --- | --- | --- |",
        f"| routed experts a layer | {facts['original_experts']} | {facts['experts']} |",
        f"| parameters | {before:,} | {after:,} |",
        "",
        f"Calibration mix `{facts['mix']}`: {ratios}; sequences of {facts['tokens']} tokens, seed {facts['seed']}.",
        "",
    ]
    if scores:
        names = list(scores)
        lines += [
            "| " + " | ".join(names) + " |",
            "| " + " | ".join("---" for _ in names) + " |",
            "| " + " | ".join(f"{scores[name]:.3f}" for name in names) + " |",
            "",
        ]
    lines += [
        f"`{RECIPE}` holds every decision (kept experts, groups, merge weights, "
        f"{'chosen neurons' if chosen else 'permutations'}{', refitted down projections' if corrected else ''}). "
        "With the original it makes this checkpoint again:",
        "",
        "```",
        f"ream apply {facts['model']} {RECIPE} OUT{options}",
        "```",
        "",
        f"`ream verify OUT` tells whether all of it is as it was written ({CONTENTS} has the hashes).",
        "",
        f"Made by ream {facts['ream']}; the original's shards have digest `{facts['digest']}`.",
        "",
    ]
    return "\n".join(lines)


def _merges(recipe: Recipe) -> bool:
    return any(len(layer.permutations) or len(layer.neurons) for layer in recipe.layers.values())
