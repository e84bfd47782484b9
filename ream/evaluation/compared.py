"""Fidelity of any model to any other of the same vocabulary, whoever made them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ream.calibration.model_tokenizer import load_tokenizer
from ream.calibration.tokenizer import Encoder, check_has_tokenizer, load_encoder
from ream.errors import NotMixtureError, UserError
from ream.evaluation.fidelity import sequence_sums
from ream.evaluation.fidelity_records import TOKENS, Fidelity, fidelity
from ream.evaluation.predictions import Predictions, WalkedPredictions, WholePredictions, load_whole
from ream.machine.files import read_table
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.family.families import NotDerivedError
from ream.models.family.limits import Limits
from ream.models.head import Head
from ream.models.inspection.admission import admit
from ream.models.runtime import runtime
from ream.models.storage.shard_source import ShardSource
from ream.params import Compute

Texts = Mapping[str, Sequence[list[int]]]  # source to the token ids of its sequences
Say = Callable[[str], None]


def limits_of_any(folder: Path) -> Limits:
    """The limits of the inputs of any language model, with experts or without.

    Raises:
        UserError: config.json is missing, not JSON, or does not say the size of the vocabulary.
    """
    config = read_table(folder / "config.json")
    inner = config.get("text_config")
    levels = [config, inner] if isinstance(inner, dict) else [config]
    sizes = [level["vocab_size"] for level in levels if isinstance(level.get("vocab_size"), int)]
    positions = [level.get("max_position_embeddings") for level in levels]
    if not sizes:
        raise UserError(f"{folder}: config.json lacks vocab_size, so it is not a language model")
    return Limits(sizes[-1], next((most for most in positions if isinstance(most, int) and most > 0), None))


def common_limits(original: Path, other: Path) -> Limits:
    """The limits of the inputs of two models that are to be compared.

    Raises:
        UserError: their vocabularies have different sizes; see `limits_of_any`.
    """
    one, two = limits_of_any(original), limits_of_any(other)
    if one.vocabulary != two.vocabulary:
        raise UserError(
            f"{original} has {one.vocabulary} token ids and {other} has {two.vocabulary} (vocab_size of config.json); "
            "compare models of one vocabulary"
        )
    return Limits(one.vocabulary, min((most for most in (one.positions, two.positions) if most), default=None))


def check_same_vocabulary(original: Path, other: Path, encoder: Encoder, texts: Texts, trust_remote_code: bool) -> None:
    """Refuse two models whose tokenizers encode the text in different ways.

    Args:
        original: folder of the model with whose tokenizer the text was encoded.
        other: folder of the other; without a tokenizer of its own it is not compared.
        encoder: the original's.
        texts: the sequences.
        trust_remote_code: let tokenizers that are Python code run.

    Raises:
        UserError: names a text that the tokenizers encode in different ways.
    """
    try:
        check_has_tokenizer(str(other))
    except UserError:
        return
    its = load_encoder(str(other), None, trust_remote_code)
    if its.fingerprint == encoder.fingerprint:
        return
    tokenizer = load_tokenizer(original, trust_remote_code)
    for source, sequences in texts.items():
        for ids in sequences:
            text: str = tokenizer.decode(ids, skip_special_tokens=True)
            if its.plain(text) != encoder.plain(text):
                raise UserError(
                    f"{original} and {other} have different tokenizers: text of '{source}' that begins {text[:30]!r} "
                    "has other token ids; compare models of one vocabulary"
                )


def predictions(
    source: ShardSource,
    compute: Compute,
    texts: Texts,
    folder: Path,
    trust_remote_code: bool,
    say: Say,
) -> Predictions:
    """What a model predicts on all texts: by a walk through its layers or, where that cannot be, loaded whole.

    Args:
        source: of its shards.
        compute: where and how it runs.
        texts: the sequences, which are numbered through all sources.
        folder: for hidden states that do not fit in memory.
        trust_remote_code: let the model's own code run.
        say: told why a model is loaded whole.

    Raises:
        UserError: the model is damaged or cannot be loaded.
    """
    sequences = [ids for rows in texts.values() for ids in rows]
    device, dtype = runtime(*compute.placement)
    name = source.folder.name
    try:
        opened = admit(source, "drop", against_code=True, trust_remote_code=trust_remote_code)
    except (NotMixtureError, NotDerivedError) as reason:
        return _whole(source, device, dtype, sequences, trust_remote_code, reason, say)
    try:  # the checkpoint is sound: what is refused from here on cannot be walked
        decoder = Decoder(opened.checkpoint, opened.architecture, device, dtype, trust_remote_code)
        head = Head(decoder, trust_remote_code)
        decoder.embed(torch.tensor([max(sequences, key=len)]))
    except UserError as reason:
        return _whole(source, device, dtype, sequences, trust_remote_code, reason, say)
    return WalkedPredictions(decoder, head, sequences, compute.batch_tokens, compute.hidden_memory, folder, name)


def _whole(
    source: ShardSource,
    device: torch.device,
    dtype: torch.dtype,
    sequences: Sequence[list[int]],
    trust_remote_code: bool,
    reason: UserError,
    say: Say,
) -> WholePredictions:
    say(f"{source.folder} is loaded whole, for it cannot be walked layer by layer: {reason}")
    return WholePredictions(load_whole(source.whole(), device, dtype, trust_remote_code), sequences)


def compared(original: Predictions, other: Predictions, texts: Texts) -> Fidelity:
    """The fidelity of a model to an original on texts that both have been given.

    Raises:
        UserError: their vocabularies are of different sizes, or no sequence has two tokens.
    """
    if original.vocabulary != other.vocabulary:
        raise UserError(
            f"the original predicts {original.vocabulary} tokens and the other model {other.vocabulary}; compare "
            "models of one vocabulary"
        )
    sums: dict[str, list[np.ndarray]] = {}
    number, rows = 0, min(original.rows, other.rows)
    with Progress(sum(map(len, texts.values())), "heads", "sequence") as progress:
        for source, sequences in texts.items():
            for ids in sequences:
                measured = sequence_sums(original.of(number), {0: other.of(number)}, torch.tensor(ids), rows)[0]
                if measured[TOKENS]:
                    sums.setdefault(source, []).append(measured)
                number += 1
                progress.update(1)
    if not sums:
        raise UserError("no sequence of the text has a second token, so nothing is predicted; give longer text")
    return fidelity({source: np.stack(rows) for source, rows in sums.items()})
