"""How a model is asked, whatever its backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ream.evaluation.lm_eval_types import Encodings


@dataclass(frozen=True)
class Asking:
    """How a model is asked.

    Attributes:
        batch_size: requests that the backend hf runs at once.
        max_length: the most tokens of context and continuation together; None for the model's own maximum.
        seed: of sampling.
        add_special_tokens: lm-eval's ``add_bos_token``: whether text gets the tokens that the tokenizer can add; None
            leaves it to the tokenizer.
        chat: ``chat_template_args`` and ``think_end_token`` of lm-eval's language models.
        vllm: arguments of vLLM's engine.
        encodings: texts that the tokenizer has encoded before, shared by models that answer the same questions.
    """

    batch_size: int = 1
    max_length: int | None = None
    seed: int = 1234
    add_special_tokens: bool | None = None
    chat: Mapping[str, Any] = field(default_factory=dict)
    vllm: Mapping[str, Any] = field(default_factory=dict)
    encodings: Encodings = field(default_factory=dict)
