"""A model of any backend as lm-eval asks it."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ream.evaluation.backends.asking import Asking

if TYPE_CHECKING:
    from lm_eval.api.model import LM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ream.evaluation.backends.connection import Connection

    Model: TypeAlias = PreTrainedModel | str | Path | Connection | None


def language_model(backend: str, model: "Model", tokenizer: "PreTrainedTokenizerBase | None", asking: Asking) -> "LM":
    """The model as lm-eval asks it.

    Args:
        backend: ``hf``, ``vllm`` or ``endpoint``; a walk has its own way (`Harness.by_layers`).
        model: for hf a model in memory, for vllm a folder or hub id, for endpoint a `Connection`.
        tokenizer: of the model; None for vllm, which reads that of the folder.
        asking: how it is asked.
    """
    if backend == "vllm":
        from ream.evaluation.backends.vllm_start import started

        return started(str(model), asking)
    assert tokenizer is not None, f"the backend {backend} takes a tokenizer"
    if backend == "endpoint":
        from ream.evaluation.backends.connection import Connection
        from ream.evaluation.backends.endpoint_lm import EndpointLM

        assert isinstance(model, Connection), "the backend endpoint takes a connection"
        return EndpointLM(model, tokenizer, asking.max_length, asking.seed, asking.add_special_tokens, asking.chat)
    from ream.evaluation.shared_context import SharedContextLM

    assert model is not None, "the backend hf takes a model in memory"
    assert not isinstance(model, str | Path), "the backend hf takes a model in memory"
    return SharedContextLM(
        model,  # type: ignore[arg-type]  # a model of transformers
        tokenizer,
        asking.batch_size,
        asking.max_length,
        asking.add_special_tokens,
        asking.encodings,
        asking.chat,
    )
