"""The held-out sequences of the run in micro-batches, and the fidelity of models on them."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ream.evaluation.fidelity_records import Fidelity, fidelity
from ream.params import Params
from ream.workspace.layout import Workspace
from ream.workspace.original import Original

if TYPE_CHECKING:
    from torch import Tensor

    from ream.models.head import Head
    from ream.walk.batches import Batches


def held_out(params: Params, workspace: Workspace) -> list[tuple[str, list[int]]]:
    """The held-out sequences of all sources of the run, each with its source.

    Raises:
        UserError: a file of them is missing or damaged.
    """
    from ream.calibration.corpus import read_corpus

    texts = {source: read_corpus(workspace.held_out(source), may_be_empty=True) for source in params.run.sources}
    return [(source, ids) for source, text in texts.items() for ids in text.sequences]


def batches_of(params: Params, original: Original, sequences: Sequence[tuple[str, list[int]]]) -> "Batches":
    """The micro-batches of such sequences.

    Raises:
        UserError: a sequence does not fit the model.
    """
    from ream.calibration.packing import pad
    from ream.walk.batches import batches, check_inputs

    ids, mask = pad([ids for _, ids in sequences], pad_id=0)
    check_inputs(ids, mask, original.limits)
    return batches(ids, mask, params.compute.batch_tokens)


class FidelitySums:
    """What the fidelity of several models is made of, sequence by sequence."""

    def __init__(self, head: "Head", data: "Batches", sources: Sequence[str]) -> None:
        """Args:
        head: of the original.
        data: the text.
        sources: that of each sequence.
        """
        self._head, self._data, self._sources = head, data, sources
        self._sums: dict[str, dict[str, list[np.ndarray]]] = {}

    def update(self, row: int, states: "Mapping[str | None, Tensor]") -> None:
        """Add a sequence, given the hidden states behind the last layer of all models, the original's under None."""
        from ream.evaluation.fidelity import sequence_sums
        from ream.evaluation.fidelity_records import TOKENS

        logits = {name: partial(_logits, self._head, leaving) for name, leaving in states.items()}
        expected, ids = logits.pop(None), self._data.ids[row][self._data.mask[row]]
        for name, own in sequence_sums(expected, logits, ids, self._head.rows).items():
            if name is not None and own[TOKENS]:
                self._sums.setdefault(name, {}).setdefault(self._sources[row], []).append(own)

    def result(self) -> dict[str, Fidelity]:
        """The fidelity of each model for which a sequence has a second token."""
        return {
            name: fidelity({source: np.stack(rows) for source, rows in by_source.items()})
            for name, by_source in self._sums.items()
        }


def _logits(head: "Head", leaving: "Tensor", part: slice) -> "Tensor":
    """Logits of some tokens of a sequence."""
    return head(leaving[part])
