"""Logical tensors of a checkpoint, quantised or not, as names and shapes: what they are stored as; without torch.

Every format names the stored tensors of the logical tensor ``X`` as ``X`` + suffix, so a logical tensor is a mapping of
suffixes to stored names; one that is not quantised is ``{"": X}``. All functions of formats take ``None`` for a
checkpoint without quantization_config.
"""

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from ream.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Header(Protocol):
    """What a safetensors header says of a stored tensor; a ``TensorInfo`` or an ``OutputTensor`` is one."""

    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


class Format(Protocol):
    """How one quantised format stores a matrix. Its mappings have the format's suffixes as keys."""

    @property
    def key(self) -> str:
        """The suffix of the stored tensor that a matrix only has if it is quantised."""

    @property
    def required(self) -> tuple[str, ...]:
        """The suffixes that every quantised matrix has, ``key`` among them."""

    @property
    def optional(self) -> tuple[str, ...]:
        """Further suffixes that belong to a quantised matrix."""

    def shape(self, headers: Mapping[str, Header]) -> tuple[int, ...]:
        """The shape of the logical tensor."""

    def decode(self, name: str, stored: Mapping[str, "Tensor"]) -> "Tensor":
        """The values in float32, not finite where a code or a scale is not.

        Raises:
            UserError: dtypes or shapes that the format does not have.
        """

    def encode(self, name: str, weight: "Tensor", like: Mapping[str, Header]) -> dict[str, "Tensor"]:
        """A finite float32 tensor in the format, with the dtypes of the original's stored tensors.

        Raises:
            UserError: dtypes that the format does not have.
        """


def stored_names(form: Format | None, name: str, names: Container[str]) -> dict[str, str]:
    """Suffixes with the stored names of a logical tensor, of all the names of a checkpoint.

    Raises:
        UserError: a part of it is missing.
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
    """All logical tensors of a checkpoint, as ``stored_names`` gives them, in the order of their first stored names.

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
