"""What a model predicts on given sequences: through its layers one at a time, or loaded whole where it has to be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ream.errors import UNUSABLE, UserError, one_line
from ream.evaluation.fidelity import Logits
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.head import Head, rows_at_once
from ream.walk.packed import Packed, Unsaved, walk_packed

Sequences = Sequence[Sequence[int]]  # token ids of each


class Predictions(Protocol):
    """The next-token logits of a model on sequences that were given to it.

    Attributes:
        vocabulary: V.
        rows: tokens whose logits are to be asked for at a time.
    """

    vocabulary: int
    rows: int

    def of(self, number: int) -> Logits:
        """What gives the logits of tokens of a sequence, by its number."""


class WalkedPredictions:
    """Of a model that has gone through its layers: hidden states of all tokens, and the head."""

    def __init__(
        self,
        decoder: Decoder,
        head: Head,
        sequences: Sequences,
        batch_tokens: int,
        memory: float,
        folder: Path,
        name: str,
    ) -> None:
        """Walk the model.

        Args:
            decoder: of the model.
            head: of the model.
            sequences: the text.
            batch_tokens: most tokens of a micro-batch.
            memory: bytes of hidden states to keep in memory.
            folder: for hidden states beyond that.
            name: of the model, for the progress bar.

        Raises:
            UserError: see `walk_packed`.
        """
        packed, self._state = Packed(sequences, batch_tokens), Unsaved(folder, memory)
        with Progress(decoder.architecture.layers * len(packed), name, "batch") as progress:
            self._hidden = walk_packed(decoder, packed, None, self._state, progress)
        self._head, self._starts = head, packed.starts
        self._lengths = [len(ids) for ids in sequences]
        self.vocabulary, self.rows = head.vocabulary, head.rows

    def of(self, number: int) -> Logits:
        """See `Predictions`."""
        start = self._starts[number]
        states = self._hidden[start : start + self._lengths[number]].clone()
        for _ in self._state.parts([slice(0)]):
            pass  # lets go of the pages that were read
        return lambda part: self._head(states[part])


class WholePredictions:
    """Of a model that transformers holds in memory, which runs a sequence when it is asked for."""

    def __init__(self, model: Any, sequences: Sequences) -> None:
        """Args:
        model: a causal language model of transformers, in evaluation mode.
        sequences: the text.
        """
        self._model, self._sequences = model, sequences
        self.vocabulary: int = model.get_output_embeddings().weight.shape[0]
        self.rows = rows_at_once(self.vocabulary)

    def of(self, number: int) -> Logits:
        """See `Predictions`."""
        ids = torch.tensor([list(self._sequences[number])], device=self._model.device)
        with torch.no_grad():
            logits: Tensor = self._model(input_ids=ids, use_cache=False).logits[0]
        return lambda part: logits[part].float()


def load_whole(folder: Path, device: torch.device, dtype: torch.dtype, trust_remote_code: bool) -> Any:
    """A causal language model as transformers loads it.

    Raises:
        UserError: transformers cannot load it, or it lacks weights.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    typed_logging: Any = logging  # transformers leaves its functions untyped
    typed_logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=trust_remote_code, output_loading_info=True
        )
    except UNUSABLE as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise UserError(f"{folder}: transformers cannot load it as a language model ({reason})") from error
    model, report = loaded
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(f"{folder}: {type(model).__name__} has no tensor for {missing[0]} ({len(missing)} in all)")
    if model.get_output_embeddings() is None:
        raise UserError(f"{folder}: {type(model).__name__} has no output layer, so it predicts nothing")
    return model.to(device).eval()
