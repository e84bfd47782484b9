"""Answers of models to many questions at once: all rows through one layer after the other, then through the head."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ream.evaluation.queries import Query, rows_of
from ream.machine.progress import Progress
from ream.models.decoder import Decoder
from ream.models.expert_weights import BlockWeights
from ream.models.head import Head
from ream.walk.packed import Keeping, Packed, Unsaved, walk_side_by_side
from ream.walk.state import WalkState, fingerprint

Answer = tuple[float, bool]  # log-probability of the tokens asked for, whether each is the most likely one


@dataclass(frozen=True)
class Walked:
    """A model of the original that is walked.

    Attributes:
        blocks: the experts and routers of a compressed model, by layer; None for the original.
        state: folder of what a killed run has finished; None keeps nothing.
        facts: what the answers depend on beside the questions; a state with others is discarded.
    """

    blocks: Mapping[int, BlockWeights] | None
    state: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Walker:
    """What is needed to walk models of one original side by side.

    Attributes:
        decoder: of the original.
        head: of the original.
        models: the models, one at least.
        batch_tokens: most tokens of a micro-batch, padding included.
        memory: bytes of hidden states to keep in memory, of all models together.
        scratch: folder for hidden states beyond that, where nothing is kept.
        name: of the work, for the progress bar.
    """

    decoder: Decoder
    head: Head
    models: Sequence[Walked]
    batch_tokens: int
    memory: float
    scratch: Path
    name: str

    def answers(self, queries: Sequence[Query]) -> list[list[Answer]]:
        """For each model the answer to each question.

        Raises:
            UserError: see `walk_side_by_side`.
        """
        if not queries:
            return [[] for _ in self.models]
        rows, within = rows_of(queries)
        packed = Packed(rows, self.batch_tokens)
        with ExitStack() as stack:
            states = [self._state(stack, number, model, rows) for number, model in enumerate(self.models)]
            return self._walked(packed, queries, within, states)

    def _state(self, stack: ExitStack, number: int, model: Walked, rows: Sequence[tuple[int, ...]]) -> Keeping:
        """Where a model's hidden states are kept."""
        memory = self.memory / len(self.models)
        if model.state is None:
            folder = self.scratch / f"stream-{number}"
            folder.mkdir(exist_ok=True)
            return Unsaved(folder, memory)
        identity = fingerprint({**model.facts, "batch_tokens": self.batch_tokens, "rows": rows})
        return stack.enter_context(WalkState(model.state, identity, discard_stale=True, memory=memory))

    def _walked(
        self,
        packed: Packed,
        queries: Sequence[Query],
        within: Mapping[tuple[int, ...], int],
        states: Sequence[Keeping],
    ) -> list[list[Answer]]:
        steps = self.decoder.architecture.layers * len(packed) * len(states)
        with Progress(steps, self.name, "batch") as progress:
            kept = [(model.blocks, state) for model, state in zip(self.models, states, strict=True)]
            streams = walk_side_by_side(self.decoder, packed, kept, progress)
        places, targets, counts = _asked(packed, queries, within)
        ends = list(pairwise(np.concatenate([[0], np.cumsum(counts)])))
        answers = []
        for hidden, state in zip(streams, states, strict=True):
            likely, best = self._predicted(hidden, state, places, targets)
            answers.append([(float(likely[begin:end].sum()), bool(best[begin:end].all())) for begin, end in ends])
        return answers

    @torch.no_grad()
    def _predicted(
        self, hidden: Tensor, state: Keeping, places: np.ndarray, targets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each token asked for: log-probability, float64, and whether it is the most likely one.

        Logits are computed once for every place in the stream, whatever the number of tokens asked for there.
        """
        distinct, inverse = np.unique(places, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        bounds = np.searchsorted(inverse[order], np.arange(0, len(distinct) + self.head.rows, self.head.rows))
        likely, best = np.empty(len(places)), np.empty(len(places), dtype=bool)
        blocks = [slice(start, start + self.head.rows) for start in range(0, len(distinct), self.head.rows)]
        for number, block in enumerate(state.parts(blocks)):
            logits = self.head(hidden[torch.from_numpy(distinct[block])])
            members = order[bounds[number] : bounds[number + 1]]
            rows = torch.from_numpy(inverse[members] - block.start).to(logits.device)
            asked = torch.from_numpy(targets[members]).to(logits.device)
            likely[members] = F.log_softmax(logits, dim=-1)[rows, asked].double().cpu().numpy()
            best[members] = (logits.argmax(dim=-1)[rows] == asked).cpu().numpy()
        return likely, best


def _asked(
    packed: Packed, queries: Sequence[Query], within: Mapping[tuple[int, ...], int]
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Of all questions one after the other: places in the stream, the tokens asked for there, and how many each has."""
    places, targets = list[int](), list[int]()
    for query in queries:
        start = packed.starts[within[query.row]] + query.first
        places += range(start, start + query.targets)
        targets += query.ids[-query.targets :]
    return np.array(places), np.array(targets), [query.targets for query in queries]
