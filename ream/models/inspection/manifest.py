"""Finding the original model, and the small manifest that stands for it in the graph."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ream.errors import UserError
from ream.machine.files import read_json, write_json
from ream.models.family.architecture import architecture_of, without_multi_token
from ream.models.family.layout import ExpertTensor
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.hub import COMPANIONS, DESCRIPTION, HubShards, snapshot
from ream.models.storage.shard_source import LocalShards, ShardSource


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


def locate(path: str, wanted: Sequence[str] = COMPANIONS) -> tuple[Path, str | None]:
    """The local folder of a model and, for a hub id, its commit; fetches what is not there, but no weights.

    Args:
        path: a folder or a hub id with optional ``@revision``.
        wanted: patterns of the files to fetch.

    Raises:
        UserError: neither a folder nor a reachable hub id.
    """
    if Path(path).is_dir():
        return Path(path), None
    name, revision = split_revision(path)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"model '{path}' is neither a folder that exists nor a hub id like owner/name[@revision]")
    try:
        folder = snapshot(name, revision, wanted)
    except UserError as error:
        beside = Path(name).parent
        if beside.is_dir():  # more likely a mistyped folder than a hub id
            raise UserError(f"{error}; the folder {beside} has no '{Path(name).name}' either") from error
        raise
    return folder, folder.name


def source_of(path: str, keep_shards: bool = True, wanted: Sequence[str] = COMPANIONS) -> ShardSource:
    """What gives a model's shards, from a folder or, as they are needed, from the hub.

    Args:
        path: a folder or a hub id with optional ``@revision``.
        keep_shards: leave shards that are fetched in the hub's cache.
        wanted: patterns of the other files to fetch.

    Raises:
        UserError: see `locate`.
    """
    folder, commit = locate(path, wanted)
    return LocalShards(folder) if commit is None else HubShards(split_revision(path)[0], folder, keep_shards)


def manifest_of(path: str, multi_token: str = "compress") -> Manifest:
    """Describe a model: reads its config and the headers of its shards, of a hub model nothing else.

    Args:
        path: a folder or a hub id.
        multi_token: what becomes of its multi-token layers, ``compress`` or ``drop``.

    Raises:
        UserError: see `locate`, `Checkpoint` and `architecture_of`.
    """
    source = source_of(path, wanted=DESCRIPTION)
    checkpoint = Checkpoint(source)
    architecture = architecture_of(checkpoint)
    if multi_token == "drop":
        architecture = without_multi_token(architecture)
    first = next(name for name, role in architecture.roles.items() if isinstance(role.kind, ExpertTensor))
    return Manifest(
        path=split_revision(path)[0],
        revision=source.commit if isinstance(source, HubShards) else None,
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
    """The local folder of a manifest's model; of a hub model without its shards.

    Raises:
        UserError: its shards are not those of the manifest any more.
    """
    folder, commit = locate(_pinned(manifest))
    if commit is None:
        found = {shard: (folder / shard).stat().st_size for shard in manifest.shards if (folder / shard).exists()}
        _check_shards(manifest, found, folder)
    return folder


def checkpoint_of(manifest: Manifest, keep_shards: bool = True) -> Checkpoint:
    """The checkpoint of a manifest's model.

    Args:
        manifest: of the model.
        keep_shards: see `source_of`.

    Raises:
        UserError: its shards are not those of the manifest any more; or see `Checkpoint`.
    """
    if manifest.revision is None:
        folder_of(manifest)  # names the shard that has changed before a header is read
    checkpoint = Checkpoint(source_of(_pinned(manifest), keep_shards))
    _check_shards(manifest, checkpoint.shards, checkpoint.folder)
    return checkpoint


def _pinned(manifest: Manifest) -> str:
    return manifest.path if manifest.revision is None else f"{manifest.path}@{manifest.revision}"


def _check_shards(manifest: Manifest, found: Mapping[str, int], folder: Path) -> None:
    for shard, size in manifest.shards.items():
        if found.get(shard) != size:
            raise UserError(
                f"{folder / shard} is not what the manifest says; run `dvc repro -f model` to read it again"
            )
