"""A model's tokenizer as a function from text to token ids; needs transformers only without a tokenizer.json."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from ream.calibration.tokenizer_check import check_tokenizer, explained
from ream.errors import UserError
from ream.machine.documents import parse_json, read_bytes

FAST = "tokenizer.json"


@dataclass(frozen=True)
class Encoder:
    """A tokenizer.

    Attributes:
        encode: text to token ids, without special tokens and without truncation.
        vocabulary_size: the highest token id plus one.
        fingerprint: SHA-256 of tokenizer.json or, without one, of the tokenizer's files.
    """

    encode: Callable[[str], list[int]]
    vocabulary_size: int
    fingerprint: str


def load_encoder(folder_or_id: str, revision: str | None, trust_remote_code: bool) -> Encoder:
    """The tokenizer of a model: its tokenizer.json through ``tokenizers`` or, without one, transformers' AutoTokenizer.

    Reading tokenizer.json directly saves the seconds that importing transformers takes.

    Args:
        folder_or_id: folder, or id of a model on the hub.
        revision: branch, tag or commit on the hub; not used for a folder.
        trust_remote_code: whether a tokenizer that the model ships as Python code may run.

    Raises:
        UserError: the model does not exist, has no tokenizer, or its tokenizer cannot be read.
    """
    path = _tokenizer_json(folder_or_id, revision)
    return _light(path) if path is not None else _heavy(folder_or_id, revision, trust_remote_code)


def _tokenizer_json(folder_or_id: str, revision: str | None) -> Path | None:
    folder = Path(folder_or_id)
    if folder.is_dir():
        return folder / FAST if (folder / FAST).is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HFValidationError,
        HTTPError,
        OfflineModeIsEnabled,
    )

    try:
        return Path(hf_hub_download(folder_or_id, FAST, revision=revision))
    except EntryNotFoundError:  # the model has no tokenizer.json or, offline, the cache has none
        return None
    except (HFValidationError, HTTPError, OfflineModeIsEnabled) as error:
        raise UserError(
            f"model '{folder_or_id}' is not a folder, and the hub gives no tokenizer for it: {_line(error)}; correct "
            "its name or revision or, if it is gated, accept its terms on its page and run `hf auth login`"
        ) from None


def _light(path: Path) -> Encoder:
    data = read_bytes(path)
    content = parse_json(data, str(path))
    if not isinstance(content, dict) or "model" not in content:
        raise UserError(f"{path} is not a tokenizer: it has no 'model'; fetch the file again")
    check_tokenizer(data.decode("utf-8"), str(path))
    tokenizer = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def encode(text: str) -> list[int]:
        with explained(str(path)):
            return tokenizer.encode(text, add_special_tokens=False).ids

    return Encoder(encode, max(tokenizer.get_vocab().values()) + 1, hashlib.sha256(data).hexdigest())


def _heavy(folder_or_id: str, revision: str | None, trust_remote_code: bool) -> Encoder:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder_or_id, revision=revision or "main", trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"model '{folder_or_id}' has no tokenizer that can be loaded: {_line(error)}; put its {FAST} there or, if "
            "it comes with its own code, set model.trust_remote_code"
        ) from None

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return ids

    names = {*tokenizer.vocab_files_names.values(), "tokenizer_config.json"}
    token_ids = (*tokenizer.get_vocab().values(), *tokenizer.added_tokens_encoder.values())
    return Encoder(encode, max(token_ids) + 1, _fingerprint(_files(folder_or_id, revision, names)))


def _files(folder_or_id: str, revision: str | None, names: Iterable[str]) -> list[Path]:
    """The files of these names that the model has, sorted by name; transformers has just put them into the cache."""
    if Path(folder_or_id).is_dir():
        return [path for name in sorted(names) if (path := Path(folder_or_id, name)).is_file()]
    from huggingface_hub import try_to_load_from_cache

    paths = (try_to_load_from_cache(folder_or_id, name, revision=revision) for name in sorted(names))
    return [Path(path) for path in paths if isinstance(path, str)]


def _fingerprint(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(read_bytes(path))
    return digest.hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
