"""The backends by name, each with the same interface; what each can do is in `ream.evaluation.backends.abilities`.

vLLM is imported when its engine starts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from ream.evaluation.backends import endpoint, hf, layers, vllm
from ream.evaluation.backends.subject import Candidate, Given, Measured


class Backend(NamedTuple):
    """How models are measured.

    Attributes:
        ready: refuses what can be known before tasks and models are loaded.
        measure: measures models, in their order.
    """

    ready: Callable[[Given, Sequence[Candidate]], None]
    measure: Callable[[Given, Sequence[Candidate]], Iterator[Measured]]


BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        "hf": Backend(hf.ready, hf.measure),
        "vllm": Backend(vllm.ready, vllm.measure),
        "layers": Backend(layers.ready, layers.measure),
        "endpoint": Backend(endpoint.ready, endpoint.measure),
    }
)
