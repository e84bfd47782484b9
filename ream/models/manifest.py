"""Finding the original model, and the small manifest that stands for it in the graph."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ream.errors import UserError
from ream.files import read_json, write_json

WANTED = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken", "*.py"]


@dataclass(frozen=True)
class Manifest:
    """An original model as the graph depends on it: where it is, exactly which one, and its numbers.

    ``multi_token`` is what becomes of its multi-token layers; those to be dropped are not among ``moe_layers``.
    """

    path: str
    revision: str | None
    family: str
    layers: int
    moe_layers: list[int]
    experts: int
    top_k: int
    hidden: int
    width: int
    router_groups: int
    router_top_groups: int
    router_group_best: int
    multi_token: str
    scores: str
    parameters: int
    dtype: str
    shards: dict[str, int]
    digest: str

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))


def load_manifest(path: str | Path) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: the file is missing or not a manifest.
    """
    try:
        return Manifest(**read_json(path))
    except TypeError:
        raise UserError(f"{path} is not a manifest of this version; run `dvc repro -f model`") from None


def split_revision(path: str) -> tuple[str, str | None]:
    """``owner/name@revision`` to its parts; a folder that exists keeps its '@'."""
    if Path(path).is_dir() or "@" not in path:
        return path, None
    name, revision = path.rsplit("@", 1)
    return name, revision


def locate(path: str, weights: bool = True) -> tuple[Path, str | None]:
    """The local folder of a model and, for a hub id, its commit; fetches what is not there.

    Args:
        path: a folder or a hub id with optional ``@revision``.
        weights: False leaves the safetensors out.

    Raises:
        UserError: neither a folder nor a reachable hub id.
    """
    if Path(path).is_dir():
        return Path(path), None
    name, revision = split_revision(path)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"model '{path}' is neither a folder that exists nor a hub id like owner/name[@revision]")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = WANTED if weights else [pattern for pattern in WANTED if pattern != "*.safetensors"]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        hint = (
            "HF_HUB_OFFLINE is set; unset it or " if os.environ.get("HF_HUB_OFFLINE") == "1" else "check the name or "
        )
        raise UserError(f"model '{path}' cannot be fetched from the hub ({first}); {hint}give a local folder") from None
    return folder, folder.name


def manifest_of(path: str, multi_token: str = "compress") -> Manifest:
    """Describe a model: reads its config and the headers of its shards.

    Args:
        path: a folder or a hub id.
        multi_token: what becomes of its multi-token layers, ``compress`` or ``drop``.

    Raises:
        UserError: see `locate`, `Checkpoint` and `architecture_of`.
    """
    from ream.models.architecture import architecture_of, without_multi_token
    from ream.models.checkpoint import Checkpoint
    from ream.models.layout import ExpertTensor

    folder, commit = locate(path)
    checkpoint = Checkpoint(folder)
    architecture = architecture_of(checkpoint)
    if multi_token == "drop":
        architecture = without_multi_token(architecture)
    first = next(name for name, role in architecture.roles.items() if isinstance(role.kind, ExpertTensor))
    return Manifest(
        path=split_revision(path)[0],
        revision=commit,
        family=architecture.family.model_type,
        layers=architecture.layers,
        moe_layers=list(architecture.moe_layers),
        experts=architecture.experts,
        top_k=architecture.top_k,
        hidden=architecture.hidden,
        width=architecture.width,
        router_groups=architecture.router_groups,
        router_top_groups=architecture.router_top_groups,
        router_group_best=architecture.router_group_best,
        multi_token=multi_token,
        scores=architecture.family.scores,
        parameters=checkpoint.parameters,
        dtype=next(iter(checkpoint.headers_of(first).values())).dtype,
        shards=checkpoint.shards,
        digest=checkpoint.digest(),
    )


def folder_of(manifest: Manifest) -> Path:
    """The local folder of a manifest's model.

    Raises:
        UserError: its shards are not those of the manifest any more.
    """
    path = manifest.path if manifest.revision is None else f"{manifest.path}@{manifest.revision}"
    folder, _ = locate(path)
    found: dict[str, Any] = {}
    for shard in manifest.shards:
        found[shard] = (folder / shard).stat().st_size if (folder / shard).exists() else None
    if found != manifest.shards:
        changed = next(shard for shard in found if found[shard] != manifest.shards[shard])
        raise UserError(f"{folder / changed} is not what the manifest says; run `dvc repro -f model` to read it again")
    return folder
