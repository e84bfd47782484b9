"""Reading the values of a checkpoint's logical tensors (`quantization.names`) and storing new values for them."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ream.errors import UserError
from ream.models.dtypes import DTYPES, all_finite
from ream.models.quantization.names import Format, Header


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
        read: reads a stored tensor in its own dtype; of stacked experts it may read any part along the first axis.
        dtype: of the result. Decoding computes in float32.

    Raises:
        UserError: the tensor holds NaN or Inf (FP8's NaN codes and scales that are not finite count), has a wrong shape
            or dtype, or is an 8-bit float without scales.
    """
    parts = {suffix: read(stored_name) for suffix, stored_name in stored.items()}
    if form is None or form.key not in parts:
        weight = parts[""]
        if weight.is_floating_point() and weight.element_size() == 1:
            raise UserError(f"{name} is {weight.dtype} without scales; dequantise the checkpoint to bfloat16 first")
    else:
        weight = form.decode(name, parts)
        if not all_finite(weight):
            raise UserError(f"{name} holds NaN or Inf; fetch its shard again or repair the model")
    return weight.to(dtype)


def requantised(form: Format | None, name: str, weight: Tensor, like: Mapping[str, Header]) -> dict[str, Tensor]:
    """New values for a logical tensor, stored as its original is.

    Args:
        form: of the checkpoint.
        name: of the tensor, for messages.
        weight: the values, in any float dtype; of stacked experts any number, each encoded by itself.
        like: the headers of the original's stored tensors by suffix.

    Returns:
        The stored tensors by suffix; for a tensor that is not quantised, the values in the original's dtype.

    Raises:
        UserError: the values hold NaN or Inf, or exceed what the original's dtypes can hold.
    """
    if not all_finite(weight):
        raise UserError(f"{name}: the new weights hold NaN or Inf, so nothing is written")
    if form is None or form.key not in like:
        result = {"": weight.to(DTYPES[like[""].dtype])}
    else:
        result = form.encode(name, weight.to(torch.float32), like)
    for suffix, tensor in result.items():
        if tensor.is_floating_point() and tensor.element_size() > 1 and not all_finite(tensor):
            raise UserError(f"{name}: the new weights exceed the range of {name + suffix}, {like[suffix].dtype}")
    return result
