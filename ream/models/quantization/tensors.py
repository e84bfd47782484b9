"""Logical tensors of a checkpoint, quantised or not: what they are stored as, their values, and new values for them.

Every format names the stored tensors of the logical tensor ``X`` as ``X`` + suffix, so a logical tensor is a mapping of
suffixes to stored names; one that is not quantised is ``{"": X}``. All functions here take ``None`` for a checkpoint
without quantization_config.
"""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from ream.errors import UserError
from ream.models.dtypes import DTYPES


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

    def decode(self, name: str, stored: Mapping[str, Tensor]) -> Tensor:
        """The values in float32, not finite where a code or a scale is not.

        Raises:
            UserError: dtypes or shapes that the format does not have.
        """

    def encode(self, name: str, weight: Tensor, like: Mapping[str, Header]) -> dict[str, Tensor]:
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


def read_logical(
    form: Format | None,
    name: str,
    stored: Mapping[str, str],
    read: Callable[[str], Tensor],
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The values of a logical tensor.

    Args:
        form: of the checkpoint.
        name: of the tensor, for messages.
        stored: its stored names by suffix, of ``stored_names``.
        read: gives a stored tensor in its own dtype; of stacked experts it may give any part along the first axis.
        dtype: of the result. Decoding computes in float32.

    Raises:
        UserError: NaN or Inf, among them FP8's NaN codes and scales that are not finite; a wrong shape or dtype; an
            8-bit float without scales.
    """
    parts = {suffix: read(stored_name) for suffix, stored_name in stored.items()}
    if form is None or form.key not in parts:
        weight = parts[""]
        if weight.is_floating_point() and weight.element_size() == 1:
            raise UserError(f"{name} is {weight.dtype} without scales; dequantise the checkpoint to bfloat16 first")
    else:
        weight = form.decode(name, parts)
        if not torch.isfinite(weight).all():
            raise UserError(f"{name} holds NaN or Inf; fetch its shard again or repair the model")
    return weight.to(dtype)


def requantised(form: Format | None, name: str, weight: Tensor, like: Mapping[str, Header]) -> dict[str, Tensor]:
    """New values for a logical tensor, as its original is stored.

    Args:
        form: of the checkpoint.
        name: of the tensor, for messages.
        weight: the values, of any float dtype; of stacked experts any number of them, each encoded by itself.
        like: the headers of the original's stored tensors by suffix.

    Returns:
        the stored tensors by suffix; without quantisation the values in the original's dtype.

    Raises:
        UserError: NaN or Inf, or values beyond what the original's dtypes can hold.
    """
    if not torch.isfinite(weight).all():
        raise UserError(f"{name}: the new weights hold NaN or Inf; nothing is written")
    if form is None or form.key not in like:
        result = {"": weight.to(DTYPES[like[""].dtype])}
    else:
        result = form.encode(name, weight.to(torch.float32), like)
    for suffix, tensor in result.items():
        if tensor.is_floating_point() and tensor.element_size() > 1 and not torch.isfinite(tensor).all():
            raise UserError(f"{name}: the new weights exceed the range of {name + suffix}, {like[suffix].dtype}")
    return result
