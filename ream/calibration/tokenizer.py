"""A model's tokenizer as a function from text to token ids; needs transformers only without a tokenizer.json."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import tokenizers

from ream.calibration.special_tokens import PROBE, SpecialTokens, measured
from ream.calibration.tokenizer_check import check_tokenizer, explained
from ream.errors import UNUSABLE, UserError, one_line
from ream.machine.documents import parse_json, read_bytes

FAST, SETTINGS = "tokenizer.json", "tokenizer_config.json"
# Patterns of the names that tokenizers' files have; a folder without any has no tokenizer.
FILES = ("tokenizer*", "vocab*", "tekken.json", "*.model", "*.tiktoken")


@dataclass(frozen=True)
class Encoder:
    """A tokenizer.

    Attributes:
        plain: text to token ids, without special tokens and without truncation.
        special: the tokens that the tokenizer adds to a text.
        fingerprint: SHA-256 of tokenizer.json or, without one, of the tokenizer's files.
        id_of: a token, such as ``<|endoftext|>``, to its id; None where the vocabulary lacks it.
    """

    plain: Callable[[str], list[int]]
    special: SpecialTokens
    fingerprint: str
    id_of: Callable[[str], int | None] = lambda token: None

    def encode(self, text: str) -> list[int]:
        """The token ids of a text with the special tokens, without truncation."""
        return self.special.around(self.plain(text))


def load_encoder(
    folder_or_id: str, revision: str | None, trust_remote_code: bool, special_tokens: str = "tokenizer"
) -> Encoder:
    """The tokenizer of a model: its tokenizer.json through ``tokenizers`` or, without one, transformers' AutoTokenizer.

    Reading tokenizer.json directly saves the seconds that importing transformers takes.

    Args:
        folder_or_id: folder, or id of a model on the hub.
        revision: branch, tag or commit on the hub; not used for a folder.
        trust_remote_code: whether a tokenizer that the model ships as Python code may run.
        special_tokens: ``tokenizer`` adds what the tokenizer adds to a text; ``none`` adds nothing.

    Raises:
        UserError: the model does not exist, has no tokenizer, or its tokenizer cannot be read.
    """
    check_has_tokenizer(folder_or_id)
    path = _tokenizer_json(folder_or_id, revision)
    encoder = _light(path) if path is not None else _heavy(folder_or_id, revision, trust_remote_code)
    return replace(encoder, special=SpecialTokens()) if special_tokens == "none" else encoder


def check_has_tokenizer(folder_or_id: str) -> None:
    """Refuse a folder without any file of a tokenizer, for which transformers would make an empty tokenizer.

    Raises:
        UserError: there is none.
    """
    folder = Path(folder_or_id)
    if folder.is_dir() and not any(fnmatch(path.name, name) for path in folder.iterdir() for name in FILES):
        raise _no_tokenizer(folder_or_id)


def _no_tokenizer(folder_or_id: str) -> UserError:
    return UserError(
        f"{folder_or_id} has no tokenizer ({FAST}, or the files of another kind), so text cannot be encoded; put the "
        "model's tokenizer files there, or give your own tokens as calibration"
    )


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
            f"model '{folder_or_id}' is not a folder, and the hub gives no tokenizer for it: {one_line(error)}; "
            "correct its name or revision or, if it is gated, accept its terms on its page and run `hf auth login`"
        ) from None


def _light(path: Path) -> Encoder:
    """The tokenizer of a tokenizer.json, whose post-processor says which tokens are added.

    Transformers 5 does the same: it reads ``add_bos_token`` of tokenizer_config.json only without a tokenizer.json.
    """
    data = read_bytes(path)
    content = parse_json(data, str(path))
    if not isinstance(content, dict) or "model" not in content:
        raise UserError(f"{path} is not a tokenizer: it has no 'model'; fetch the file again")
    check_tokenizer(data.decode("utf-8"), str(path))
    tokenizer = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def plain(text: str) -> list[int]:
        with explained(str(path)):
            return tokenizer.encode(text, add_special_tokens=False).ids

    special = measured(lambda special: tokenizer.encode(PROBE, add_special_tokens=special).ids)
    return Encoder(plain, special, hashlib.sha256(data).hexdigest(), tokenizer.token_to_id)


def _heavy(folder_or_id: str, revision: str | None, trust_remote_code: bool) -> Encoder:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder_or_id, revision=revision or "main", trust_remote_code=trust_remote_code
        )
    except UNUSABLE as error:
        raise UserError(
            f"model '{folder_or_id}' has no tokenizer that can be loaded: {one_line(error)}; put its {FAST} there or, "
            "if it comes with its own code, set model.trust_remote_code"
        ) from None

    def encoded(text: str, special: bool) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=special, verbose=False)
        return ids

    files = _files(folder_or_id, revision, {*tokenizer.vocab_files_names.values(), SETTINGS})
    if {path.name for path in files} <= {SETTINGS}:
        raise _no_tokenizer(folder_or_id)
    special = measured(lambda special: encoded(PROBE, special))
    return Encoder(lambda text: encoded(text, False), special, _fingerprint(files), tokenizer.get_vocab().get)


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
