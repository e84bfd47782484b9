"""What several models predict on the same sequences: sums over the predicted tokens of each, from one walk."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import Tensor

from ream.calibration.packing import pad
from ream.evaluation.fidelity import token_sums
from ream.evaluation.fidelity_records import KL as KL_SUM
from ream.models.decoder import Decoder
from ream.models.head import Head
from ream.search.side_by_side import Layers, Note, Places, walk_models
from ream.walk.batches import Batches, batches

LOSS, KL, TOKENS = range(3)  # columns of the sums of a sequence
SequenceSums = Float64[np.ndarray, "n 3"]
Sequences = Sequence[Sequence[int]]  # token ids of each


class Ruler:
    """Measures models on sequences: their loss and, where wanted, their KL divergence from the original."""

    def __init__(self, decoder: Decoder, head: Head, batch_tokens: int, places: Places, with_kl: bool) -> None:
        """Args:
        decoder: of the original.
        head: of the original.
        batch_tokens: most tokens of a micro-batch.
        places: of hidden states.
        with_kl: whether the original walks along, for the KL divergence.
        """
        self._decoder, self._head, self._places, self._with_kl = decoder, head, places, with_kl
        self._batch_tokens = batch_tokens

    def measured(self, models: Sequence[Layers | None], rows: Sequences, note: Note) -> list[SequenceSums]:
        """For each model the sums of every sequence, [n, 3]: loss and KL in nats (NaN where not measured), and tokens.

        Args:
            models: their recipes; None is the original.
            rows: token ids of n sequences.
            note: told of the layers.

        Raises:
            UserError: see `walk_models` and `Head`.
        """
        data = self._data(rows)
        walked = [*models, None] if self._with_kl else list(models)
        found: dict[str, np.ndarray] = {}
        original: list[str] = []

        def seen(row: int, states: Mapping[str, Tensor]) -> None:
            ids = data.ids[row][data.mask[row]]
            reference = states[original[0]] if original else None
            for key, leaving in states.items():
                sums = found.setdefault(key, np.zeros((len(rows), 3)))
                sums[row] = self._sums(leaving, ids, reference)

        if self._with_kl:
            original.append(original_key(self._decoder))
        keys = walk_models(self._decoder, data, walked, seen, self._places, note)
        return [found[key] for key in keys[: len(models)]]

    def _data(self, rows: Sequences) -> Batches:
        ids, mask = pad([list(row) for row in rows], pad_id=0)
        return batches(ids, mask, self._batch_tokens)

    def _sums(self, leaving: Tensor, ids: Int64[Tensor, " T"], original: Tensor | None) -> Float64[np.ndarray, "3"]:
        """The sums of one sequence; the last token predicts nothing."""
        sums, rows = np.zeros(3), self._head.rows
        for start in range(0, len(ids) - 1, rows):
            part = slice(start, min(start + rows, len(ids) - 1))
            logits, following = self._head(leaving[part]), ids[part.start + 1 : part.stop + 1]
            losses = F.cross_entropy(logits, following.to(logits.device), reduction="none")
            sums[LOSS] += losses.double().sum().item()
            if original is not None:
                sums[KL] += token_sums(self._head(original[part]), logits, following)[KL_SUM]
        sums[TOKENS] = max(0, len(ids) - 1)
        if original is None:
            sums[KL] = np.nan
        return sums


def original_key(decoder: Decoder) -> str:
    """The key of the original's stream in `walk_models`."""
    layers = decoder.architecture.layers
    return "/original" * sum(index < layers for index in decoder.architecture.moe_layers)


def mean_of(sums: SequenceSums, column: int) -> float:
    """The mean over predicted tokens: a float64 sum, divided once."""
    return float(sums[:, column].sum() / sums[:, TOKENS].sum())


def by_source(sums: SequenceSums, counts: dict[str, int]) -> dict[str, SequenceSums]:
    """The sums of each source's sequences, which lie behind one another.

    Args:
        sums: of all sequences.
        counts: source to its number of sequences, in the order of the rows.
    """
    ends = np.cumsum([0, *counts.values()])
    return {source: sums[ends[place] : ends[place + 1]] for place, source in enumerate(counts)}
