"""What is caught of a model's own forward, and how it is asked with given embedded tokens."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Arguments:
    """Of one layer.

    Attributes:
        positional: those behind the hidden states.
        named: those with a name.
    """

    positional: Sequence[Any]
    named: Mapping[str, Any]

    def replaced(self, before: Any, after: Any) -> "Arguments":
        """The same with another value in the place of that very one."""
        named = {name: after if value is before else value for name, value in self.named.items()}
        return Arguments([after if value is before else value for value in self.positional], named)


@dataclass(frozen=True)
class Caught:
    """From one forward of the model.

    Attributes:
        stream: what enters the first layer, [B, L, H]; other models have more axes behind the first two.
        layers: the arguments of every layer.
        handed: what stands among these for what layers hand to the next beside hidden states; None for nothing.
    """

    stream: Tensor
    layers: Sequence[Arguments]
    handed: Tensor | None = None


@contextmanager
def embedding_to(model: Any, embedded: Tensor) -> Iterator[None]:
    """Have a model's embedding answer with these embedded tokens."""
    module = model.get_input_embeddings()
    module.forward = lambda ids: embedded
    try:
        yield
    finally:
        del module.forward


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors in arguments, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Arguments):
        return [*tensors_of(list(value.positional)), *tensors_of(value.named)]
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for each in inner for tensor in tensors_of(each)]
