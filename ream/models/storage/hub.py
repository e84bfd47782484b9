"""Models of the Hugging Face hub: their small files are fetched at once, the headers of their shards through HTTP range
requests, and a shard's data when one of its tensors is first read.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from ream.errors import UserError
from ream.models.storage.checkpoint import INDEX
from ream.models.storage.companions import COPIED, TEMPLATES
from ream.models.storage.hub_ranges import is_on_hub, remote_header
from ream.models.storage.shard_names import shard_path
from ream.models.storage.shard_source import Header, local_header

# Patterns of the files beside the weights that are fetched and watched: config, index, tokenizer, templates, licence,
# and a model's own code; `companions` says which of them are copied. They name what is in a folder, not the folder.
COMPANIONS = ["*.json", "*.txt", "*.jinja", "*.py", *COPIED, *(f"{folder}/*" for folder in TEMPLATES)]
# The files that describe a model, together with the headers of its shards.
DESCRIPTION = ["config.json", INDEX]
REQUESTS_AT_ONCE = 8
# Folder in the hub's cache for shards that are dropped after use: on the same disk, but apart from what other programs
# share.
DROPPED = ".ream-shards"


class HubShards:
    """Shards of a model on the hub at one commit (`ShardSource`).

    Shards in the hub's cache are read from there and never removed. Missing ones are fetched into the cache or, where
    shards are not kept, into a folder of ream's own, from which `drop` removes them.

    Attributes:
        name: owner/name.
        folder: the snapshot of the commit in the hub's cache, with all files but the shards.
        keep: whether fetched shards stay in the hub's cache.
        commit: hash of the commit.
        own: folder for fetched shards that are not kept.
    """

    def __init__(self, name: str, folder: Path, keep: bool) -> None:
        """Args:
        name: owner/name.
        folder: the snapshot of the commit in the hub's cache, with all files but the shards.
        keep: whether fetched shards stay in the hub's cache.
        """
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        self.name, self.folder, self.keep, self.commit = name, folder, keep, folder.name
        owned = Path(constants.HF_HUB_CACHE) / DROPPED / repo_folder_name(repo_id=name, repo_type="model")
        self.own = owned / self.commit

    def has(self, shard: str) -> bool:
        """Whether the model has such a shard. Where the hub cannot be asked, an index is enough: then the cache counts.

        Raises:
            UserError: the hub cannot be reached, and there is no index.
        """
        if shard_path(self.folder, shard).exists():
            return True
        indexed = (self.folder / INDEX).exists()
        if indexed and offline():
            return False
        try:
            with explained(self.name, "its shards"):
                return is_on_hub(self.name, self.commit, shard)
        except UserError as error:
            if indexed and error.__cause__ is not None:  # of the hub or the network, not of the shard itself
                return False
            raise

    def headers(self, shards: Sequence[str]) -> list[Header]:
        """The headers of shards, in their order.

        Raises:
            UserError: a shard is missing, truncated or corrupt, or the hub cannot be reached.
        """
        with explained(self.name, "the headers of its shards"), ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return list(pool.map(self._header, shards))

    def open(self, shard: str) -> BufferedReader:
        """A shard to read from, fetched where it is missing.

        Raises:
            UserError: the shard cannot be fetched, or the disk is full.
        """
        for folder in (self.folder, self.own):
            try:
                return open(shard_path(folder, shard), "rb")
            except FileNotFoundError:
                continue
        from huggingface_hub import hf_hub_download

        with explained(self.name, shard):
            place = None if self.keep else self.own
            return open(hf_hub_download(self.name, shard, revision=self.commit, local_dir=place), "rb")

    def where(self, shard: str) -> str:
        """The shard's name for messages."""
        cached = self.folder / shard
        return str(cached) if cached.exists() else f"{self.name}@{self.commit[:12]}/{shard}"

    def drop(self, shard: str) -> None:
        """Remove a shard that was fetched into ream's own folder, and the folder once it is empty."""
        if self.keep or not self.own.exists():
            return
        shard_path(self.own, shard).unlink(missing_ok=True)
        if not any(self.own.rglob("*.safetensors")) and not any(self.own.rglob("*.incomplete")):
            shutil.rmtree(self.own, ignore_errors=True)  # another run may be removing it, too
            for parent in (self.own.parent, self.own.parent.parent):
                if parent.exists() and not any(parent.iterdir()):
                    parent.rmdir()

    def whole(self) -> Path:
        """The snapshot in the hub's cache with all shards, fetched where they are missing."""
        return snapshot(self.name, self.commit, [*COMPANIONS, "*.safetensors"])

    def _header(self, shard: str) -> Header:
        """The header of a shard, from the cache or the hub."""
        cached = shard_path(self.folder, shard)
        if cached.is_symlink() and cached.exists():
            header = local_header(cached)
            return Header(header.raw, header.size, Path(os.readlink(cached)).name)  # a blob's file name is its etag
        return remote_header(self.name, self.commit, shard)


def snapshot(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder in the hub's cache with a model's files of these patterns, fetched where they are missing.

    Args:
        name: owner/name.
        revision: branch, tag or commit; None for the default branch.
        patterns: of file names.

    Raises:
        UserError: the model or the network cannot be reached, or the disk is full.
    """
    from huggingface_hub import snapshot_download

    with explained(name if revision is None else f"{name}@{revision}", "its files"):
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))


def offline() -> bool:
    """Whether huggingface_hub has been told not to use the network."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


@contextmanager
def explained(model: str, what: str) -> Iterator[None]:
    """Turn errors of ``huggingface_hub`` within the block into a UserError of one line that says what to do.

    Args:
        model: hub id.
        what: is being fetched of the model.

    Raises:
        UserError: for any error of the hub, the network or the disk.
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = model.partition("@")[0]
    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"model '{model}' is gated: accept its terms on https://huggingface.co/{name} and run `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"model '{model}' is not on the hub, or private: check the name or, if it is yours, run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(f"model '{model}': the hub has no such revision; give a branch, tag or commit") from error
    except (EntryNotFoundError, HTTPError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full:
            advice = "free space, put HF_HOME on a larger disk, or use --drop-shards"
        elif offline():
            advice = "HF_HUB_OFFLINE is set, so only the cache is used; unset HF_HUB_OFFLINE or give a local folder"
        elif isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
            advice = "the repository is incomplete; check its files or give another revision"
        else:
            advice = "check the network and run the command again, or give a local folder"
        raise UserError(f"model '{model}': {what} cannot be fetched from the hub ({first}); {advice}") from error
