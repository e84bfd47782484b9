"""Whether the stored parts of quantised tensors belong together, from their headers: codes, scales, zero points."""

from collections.abc import Iterable, Mapping

from ream.errors import UserError
from ream.models.quantization.names import Format, Header

FLOATS = ("F32", "BF16", "F16")  # of scales
WHOLE = ("I64", "I32")  # of shapes


def check_parts(form: Format, tensors: Iterable[tuple[str, Mapping[str, Header]]], where: str) -> None:
    """Refuse quantised tensors whose scales, or other parts, do not have the dtypes and shapes that the format gives.

    Args:
        form: of the checkpoint.
        tensors: name and headers by suffix of every quantised tensor.
        where: the checkpoint, for messages.

    Raises:
        UserError: names the stored tensor, what it is and what is needed.
    """
    sound: set[tuple[tuple[str, str, tuple[int, ...]], ...]] = set()  # combinations of parts; a model has few
    for name, headers in tensors:
        combination = tuple((suffix, header.dtype, header.shape) for suffix, header in headers.items())
        if combination not in sound:
            _check(form, name, headers, where)
            sound.add(combination)


def _check(form: Format, name: str, headers: Mapping[str, Header], where: str) -> None:
    """Check one tensor."""
    try:
        shape = form.shape(headers)
        most, least = form.planned(shape), form.planned((*shape[:-1], shape[-1] - form.slack))
    except (ValueError, IndexError):  # of the number of axes
        axes = len(headers[form.key].shape)
        raise UserError(
            f"{where}: {name + form.key} has {axes} axes, which its format does not have; fetch the checkpoint again"
        ) from None
    for suffix, header in headers.items():
        if suffix not in most:
            raise UserError(f"{where}: {name + suffix} is not supported here; dequantise the checkpoint to bfloat16")
        low, high = least[suffix].shape, most[suffix].shape
        fits = len(header.shape) == len(high) and all(
            fewest <= length <= largest for fewest, length, largest in zip(low, header.shape, high, strict=True)
        )
        needed = most[suffix].dtype
        dtypes = next((kind for kind in (FLOATS, WHOLE) if needed in kind and suffix != form.key), (needed,))
        if not fits or header.dtype not in dtypes:
            raise UserError(
                f"{where}: {name + suffix} is {header.dtype} {list(header.shape)}, where {list(shape)} needs "
                f"{' or '.join(dtypes)} {list(high)}; correct quantization_config or fetch the checkpoint again"
            )
