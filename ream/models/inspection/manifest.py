"""Finding the original model, and the manifest: a small file that stands for the model in the graph."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from ream.errors import UserError
from ream.machine.files import read_json, write_json
from ream.models.family.sizes import Sizes
from ream.models.inspection.admission import admit
from ream.models.storage.checkpoint import Checkpoint
from ream.models.storage.hub import COMPANIONS, DESCRIPTION, HubShards, snapshot
from ream.models.storage.shard_source import LocalShards, ShardSource


@dataclass(frozen=True, kw_only=True)
class Manifest(Sizes):
    """An original model as the graph depends on it: where it is, exactly which one, and its sizes.

    Attributes:
        path: a folder, or a hub id without its revision.
        revision: commit of a hub model; None for a folder.
        family: model_type of its config.json.
        multi_token: what becomes of its multi-token layers, ``compress`` or ``drop``; dropped ones are not among
            ``moe_layers``.
        scores: a name in routing.SCORES: what its router's p(x) is.
        parameters: of the whole model.
        dtype: safetensors dtype of its experts.
        shards: file name to size in bytes.
        digest: SHA-256 over the shards (`Checkpoint.digest`).
        files: for a folder that the graph watches, file name to SHA-256, of shards, config and tokenizer; what depends
            on the manifest thus depends on their contents.
    """

    path: str
    revision: str | None
    family: str
    multi_token: str
    scores: str
    parameters: int
    dtype: str
    shards: dict[str, int]
    digest: str
    files: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the manifest as JSON, always in the same bytes, for every stage depends on that file."""
        values = asdict(self)
        identity = {key: values.pop(key) for key in ("path", "revision", "family")}
        write_json(path, identity | values)


def load_manifest(path: str | Path) -> Manifest:
    """Read a manifest.

    Raises:
        UserError: the file is missing or not a manifest.
    """
    try:
        manifest = Manifest(**read_json(path))
    except TypeError:
        raise UserError(f"{path} is not a manifest of this version; run `dvc repro`") from None
    return replace(manifest, moe_layers=tuple(manifest.moe_layers))


def split_revision(path: str) -> tuple[str, str | None]:
    """Split ``owner/name@revision`` into its two parts; an existing folder with an '@' in its name stays whole."""
    if Path(path).is_dir() or "@" not in path:
        return path, None
    name, revision = path.rsplit("@", 1)
    return name, revision


def locate(path: str, wanted: Sequence[str] = COMPANIONS) -> tuple[Path, str | None]:
    """The local folder of a model and, for a hub id, its commit; fetches missing files other than weights.

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
    """The source of a model's shards: a folder or, for a hub id, the hub, which gives them as they are needed.

    Args:
        path: a folder or a hub id with optional ``@revision``.
        keep_shards: leave fetched shards in the hub's cache.
        wanted: patterns of the other files to fetch.

    Raises:
        UserError: see `locate`.
    """
    folder, commit = locate(path, wanted)
    return LocalShards(folder) if commit is None else HubShards(split_revision(path)[0], folder, keep_shards)


def manifest_of(path: str, multi_token: str = "compress") -> Manifest:
    """The manifest of a model, from its config and the headers of its shards; of a hub model nothing else is fetched.

    Whether a derived family was understood is proved on the weights of a model in a folder.

    Args:
        path: a folder or a hub id.
        multi_token: what becomes of its multi-token layers, ``compress`` or ``drop``.

    Raises:
        UserError: see `locate` and `admit`.
    """
    source = source_of(path, wanted=DESCRIPTION)
    admitted = admit(source, multi_token, against_code=False, prove=isinstance(source, LocalShards))
    checkpoint, architecture = admitted.checkpoint, admitted.architecture
    return Manifest(
        **{size.name: getattr(architecture, size.name) for size in fields(Sizes)},
        path=split_revision(path)[0],
        revision=source.commit if isinstance(source, HubShards) else None,
        family=architecture.family.model_type,
        multi_token=multi_token,
        scores=architecture.family.scores,
        parameters=checkpoint.parameters,
        dtype=next(iter(checkpoint.headers_of(architecture.an_expert_tensor).values())).dtype,
        shards=checkpoint.shards,
        digest=checkpoint.digest(),
    )


def folder_of(manifest: Manifest) -> Path:
    """The local folder of a manifest's model; of a hub model, the snapshot without its shards.

    Raises:
        UserError: its shards are no longer those of the manifest.
    """
    folder, commit = locate(_pinned(manifest))
    if commit is None:
        sizes = {shard: (folder / shard).stat().st_size for shard in manifest.shards if (folder / shard).exists()}
        _check_shards(manifest, sizes, folder)
    return folder


def checkpoint_of(manifest: Manifest, keep_shards: bool = True) -> Checkpoint:
    """The checkpoint of a manifest's model.

    Args:
        manifest: of the model.
        keep_shards: see `source_of`.

    Raises:
        UserError: its shards are no longer those of the manifest; or see `Checkpoint`.
    """
    if manifest.revision is None:
        folder_of(manifest)  # names a changed shard, where reading its header might only call it corrupt
    checkpoint = Checkpoint(source_of(_pinned(manifest), keep_shards))
    _check_shards(manifest, checkpoint.shards, checkpoint.folder)
    return checkpoint


def _pinned(manifest: Manifest) -> str:
    """The folder or the hub id with its commit."""
    return manifest.path if manifest.revision is None else f"{manifest.path}@{manifest.revision}"


def _check_shards(manifest: Manifest, sizes: Mapping[str, int], folder: Path) -> None:
    """Refuse shards that are missing or have another size than in the manifest."""
    for shard, size in manifest.shards.items():
        if sizes.get(shard) != size:
            raise UserError(
                f"{folder / shard} is missing or has changed since the stage model read it; run `dvc repro` to "
                "read it again"
            )
