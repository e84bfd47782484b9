"""Logical tensors of a checkpoint, quantised or not, as names and shapes: what they are stored as; without torch.

A format stores the logical tensor ``X`` as several tensors, each named ``X`` + suffix. So a logical tensor is a mapping
of suffixes to stored names; one that is not quantised is ``{"": X}``. Every function here that takes a format also
takes ``None``, for a checkpoint without quantization_config.
"""

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ream.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Header(Protocol):
    """What a safetensors header says of a stored tensor, as a ``TensorInfo`` or an ``OutputTensor`` does."""

    @property
    def dtype(self) -> str:
        """The tensor's safetensors dtype."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        ...


class Planned(NamedTuple):
    """The `Header` of a tensor that is not stored yet."""

    dtype: str
    shape: tuple[int, ...]


class Format(Protocol):
    """How one quantised format stores a matrix. The keys of its mappings are the format's suffixes."""

    @property
    def key(self) -> str:
        """The suffix that only a quantised matrix has."""
        ...

    @property
    def required(self) -> tuple[str, ...]:
        """The suffixes that every quantised matrix has, ``key`` among them."""
        ...

    @property
    def optional(self) -> tuple[str, ...]:
        """Further suffixes that belong to a quantised matrix."""
        ...

    @property
    def linear(self) -> bool:
        """Whether the format's producers quantise Linear weights, and not stacked experts alone."""
        ...

    @property
    def slack(self) -> int:
        """The number of columns by which `shape` may exceed the true one."""
        ...

    def shape(self, headers: Mapping[str, Header]) -> tuple[int, ...]:
        """The shape of the logical tensor."""
        ...

    def planned(self, shape: tuple[int, ...]) -> dict[str, Planned]:
        """The headers of what the format stores for a logical tensor of that shape, by suffix.

        A config does not say the dtype of scales: the usual one is taken.
        """
        ...

    def decode(self, name: str, stored: Mapping[str, "Tensor"]) -> "Tensor":
        """The values in float32; NaN or Inf where a code or a scale is not finite.

        Raises:
            UserError: dtypes or shapes that the format does not have.
        """
        ...

    def encode(self, name: str, weight: "Tensor", like: Mapping[str, Header]) -> dict[str, "Tensor"]:
        """A finite float32 tensor in the format, with the dtypes of the original's stored tensors.

        Raises:
            UserError: dtypes or shapes that the format does not have.
        """
        ...


def stored_names(form: Format | None, name: str, names: Container[str]) -> dict[str, str]:
    """The suffixes and stored names of a logical tensor.

    Args:
        form: of the checkpoint.
        name: of the logical tensor.
        names: of all tensors that the checkpoint stores.

    Raises:
        UserError: a part of the tensor is missing.
    """
    if form is None or name + form.key not in names:
        suffixes: list[str] = [""]
    else:
        suffixes = [*form.required, *(suffix for suffix in form.optional if name + suffix in names)]
    for suffix in suffixes:
        if name + suffix not in names:
            raise UserError(f"tensor {name + suffix} is missing; fetch the checkpoint again")
    return {suffix: name + suffix for suffix in suffixes}


def logical_names(form: Format | None, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """All logical tensors of a checkpoint with their `stored_names`, in the order of their first stored names.

    Raises:
        UserError: a part of a quantised tensor is missing.
    """
    known = dict.fromkeys(names)
    suffixes = () if form is None else tuple(filter(None, (*form.required, *form.optional)))
    result: dict[str, dict[str, str]] = {}
    for name in known:
        logical = name
        for suffix in suffixes:
            base = name.removesuffix(suffix)
            if form is not None and base != name and base + form.key in known:
                logical = base
        if logical not in result:
            result[logical] = stored_names(form, logical, known)
    return result


def logical_shape(form: Format | None, headers: Mapping[str, Header]) -> tuple[int, ...]:
    """The shape of a logical tensor, from the headers of its stored tensors by suffix."""
    return headers[""].shape if form is None or form.key not in headers else form.shape(headers)
