"""lm-eval's view of a model that is walked layer by layer: it collects all questions first, then knows the answers."""

from collections.abc import Mapping
from typing import Any

from lm_eval.api.instance import Instance

from ream.evaluation.backends.abilities import LAYERS, Need
from ream.evaluation.lm_eval_types import Encodings
from ream.evaluation.queries import Query
from ream.evaluation.shared_context import Answer, Request, SharedContextLM


class LayersLM(SharedContextLM):
    """An LM that encodes and cuts prompts as the hf backend does, and runs no model.

    lm-eval asks one task after the other, but a walk is to answer all of them. So every task is run twice: while
    ``answers`` is None, each question is kept in ``asked`` and answered with a number that stands for any; then the
    walk fills ``answers``, and the same questions get theirs.

    Attributes:
        asked: the questions, each once.
        answers: question to its answer; None while questions are collected.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        max_length: int | None,
        add_special_tokens: bool | None,
        encodings: Encodings,
        chat: Mapping[str, Any] | None = None,
    ) -> None:
        """Args:
        model: transformers' model without weights.
        tokenizer: of the model.
        max_length: maximum tokens of context and continuation together; None for the model's own maximum.
        add_special_tokens: see `SharedContextLM`.
        encodings: texts that this tokenizer has encoded before.
        chat: see `SharedContextLM`.
        """
        super().__init__(model, tokenizer, 1, max_length, add_special_tokens, encodings, chat)
        self.asked: dict[Query, None] = {}
        self.answers: Mapping[Query, Answer] | None = None

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[Answer]:
        self._record_truncated(requests)
        longest = self.max_length
        queries = [Query.continuation(context, continuation, longest) for _, context, continuation in requests]
        if self.answers is None:
            self.asked |= dict.fromkeys(queries)
            return [(-1.0, False)] * len(queries)
        return [self.answers[query] for query in queries]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Refused: a walk gives one token for each pass through all layers."""
        LAYERS.check(f"task '{requests[0].task_name}'", Need.GENERATION, "leave the task out of the suite")
        raise AssertionError
