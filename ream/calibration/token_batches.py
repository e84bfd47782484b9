"""Token batches that other tools saved with ``torch.save``, as sequences of token ids."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ream.calibration.corpus import MASK, MOST_VALUES
from ream.errors import UserError, one_line

if TYPE_CHECKING:
    from torch import Tensor

IDS = "input_ids"
EXPECTED = f"a tensor of token ids [n, L] or [L], a table with '{IDS}' (and '{MASK}' if padded), or a list of these"


def read_token_batches(path: Path) -> list[list[int]]:
    """The sequences of a file of ``torch.save``, without padding, in their order. No pickled code is executed.

    Args:
        path: of a tensor of integers [n, L] or [L]; of a table with ``input_ids`` and, where rows are padded,
            ``attention_mask`` of the same shape, 0 on padding; or of a list of such tensors or tables.

    Raises:
        UserError: the file is missing, holds anything else, or a row has no tokens, a negative one or padding inside.
    """
    import pickle
    import warnings

    import torch

    if not path.is_file():
        raise UserError(f"{path} is not a file; name a file of torch.save: {EXPECTED}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other protocols of pickle, which fail below if they cannot be read
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds other Python objects than tensors, lists and tables, which are not loaded "
            f"({one_line(error, 120)}); save {EXPECTED}"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is not a file of torch.save, or damaged: {one_line(error, 120)}") from None
    sequences: list[list[int]] = []
    for ids, mask in _batches(path, content):
        if ids.numel() > MOST_VALUES:
            raise UserError(f"{path} has a batch of more than {MOST_VALUES:,} token ids; split it")
        for row, kept in zip(ids, mask, strict=True):
            sequences.append(_row(path, len(sequences) + 1, row, kept))
    if not sequences:
        raise UserError(f"{path} has no sequences; {EXPECTED} is expected")
    return sequences


def _batches(path: Path, content: Any) -> "Iterator[tuple[Tensor, Tensor]]":
    """Token ids and masks [n, L] of every batch of a file's content."""
    import torch

    if isinstance(content, list | tuple):
        for part in content:
            yield from _batches(path, part)
        return
    ids = content.get(IDS) if isinstance(content, Mapping) else content
    mask = content.get(MASK) if isinstance(content, Mapping) else None
    if not isinstance(ids, torch.Tensor) or ids.is_floating_point() or ids.is_complex() or ids.ndim not in (1, 2):
        what = f"{ids.dtype} of shape {list(ids.shape)}" if isinstance(ids, torch.Tensor) else type(content).__name__
        raise UserError(f"{path} holds {what}; {EXPECTED} is expected")
    if mask is None:
        mask = torch.ones_like(ids)
    if not isinstance(mask, torch.Tensor) or mask.shape != ids.shape:
        raise UserError(f"{path}: '{MASK}' has not the shape of '{IDS}', {list(ids.shape)}; save both alike")
    yield ids.reshape(-1, ids.shape[-1]), mask.reshape(-1, ids.shape[-1]).bool()


def _row(path: Path, number: int, ids: "Tensor", mask: "Tensor") -> list[int]:
    """One sequence without its padding."""
    places = mask.nonzero().flatten()
    if not len(places):
        raise UserError(f"{path}, sequence {number}: no tokens, all is padding; leave it out")
    if len(places) != int(places[-1]) - int(places[0]) + 1:
        raise UserError(f"{path}, sequence {number}: padding between tokens; padding stands before or behind them")
    row: list[int] = ids[mask].tolist()
    if min(row) < 0:
        raise UserError(f"{path}, sequence {number}: token id {min(row)} is negative; mark padding in '{MASK}'")
    return row
