"""Hashes of the long sentences of files, found once and kept in the user's folder of caches.

To split the files of an installation into sentences takes three seconds, and every stage that draws general text needs
them. What is kept is found by a file's SHA-256 and by the code that hashes, so it is never out of date.
"""

import hashlib
import inspect
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ream.calibration import prose
from ream.calibration.prose import long_sentences
from ream.errors import UserError
from ream.machine.files import replacing
from ream.machine.scratch import without_workspace

FILE = "sentences.safetensors"
KEPT = 8_000_000  # hashes (64 MB) in the file before those of files that are not in use are dropped
Hashes = Int64[np.ndarray, " n"]


def hashes_of(text: str) -> Hashes:
    """64-bit hashes of the long sentences of a text, in no particular order.

    Two of a million sentences have the same hash with a chance of 3e-8; a paragraph more would be left out.
    """
    encoded = (sentence.encode("utf-8", "surrogatepass") for sentence in long_sentences(text))
    digests = b"".join(hashlib.blake2b(sentence, digest_size=8).digest() for sentence in encoded)
    return np.frombuffer(digests, "<i8").astype(np.int64)


class KnownSentences:
    """The hashes of files, as far as they are known."""

    def __init__(self, folder: Path) -> None:
        """Args:
        folder: of the file that keeps them; read with the first question.
        """
        self._path = folder / FILE
        self._used: dict[bytes, Hashes] = {}
        self._new = False

    def of(self, data: bytes) -> Hashes:
        """The `hashes_of` a file's text, which stay with this process."""
        key = hashlib.sha256(data).digest()
        if key not in self._used:
            found = self._kept.get(key)
            self._new |= found is None
            self._used[key] = hashes_of(data.decode("utf-8", errors="replace")) if found is None else found
        return self._used[key]

    def save(self) -> None:
        """Keep what is new for other processes, where the folder can be written: it only saves time."""
        if not self._new:
            return
        kept = {**self._kept, **self._used}
        if sum(map(len, kept.values())) > KEPT:
            kept = self._used
        columns: dict[str, np.ndarray] = {
            "files": np.frombuffer(b"".join(kept), np.uint8).reshape(-1, 32),
            "counts": np.array([len(hashes) for hashes in kept.values()], np.int64),
            "hashes": np.concatenate([np.empty(0, np.int64), *kept.values()]),
        }
        try:
            with replacing(self._path) as temporary:
                save_file(columns, temporary, metadata={"made_by": made_by()})
        except UserError:
            return
        self._new = False

    @cached_property
    def _kept(self) -> dict[bytes, Hashes]:
        """What the file has; nothing where there is none, or one that other code has made."""
        try:
            with safe_open(self._path, framework="numpy") as file:
                if (file.metadata() or {}).get("made_by") != made_by():
                    return {}
                files, counts, hashes = (file.get_tensor(name) for name in ("files", "counts", "hashes"))
            own = np.split(hashes, np.cumsum(counts)[:-1])
            return {key.tobytes(): each for key, each in zip(files, own, strict=True)}
        except (OSError, SafetensorError, ValueError):  # no file, or one that is not whole
            return {}


@cache
def known_sentences() -> KnownSentences:
    """Those of the user's folder of caches."""
    return KnownSentences(without_workspace().parent)


@cache
def made_by() -> str:
    """SHA-256 of the code that hashes."""
    return hashlib.sha256((inspect.getsource(prose) + inspect.getsource(hashes_of)).encode()).hexdigest()
