"""What a text model makes of rows of its embedding table: most models nothing, Gemma scales them."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ream.errors import UserError


class _NumbersOnHost(TorchFunctionMode):
    """Keeps tensors that are made of numbers off the meta device, on which they would lose them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        return func(*args, **(kwargs | {"device": "cpu"} if func is torch.tensor else kwargs))


def embedding_of(model: Any, build: Callable[[], Any]) -> Callable[[Tensor], Tensor]:
    """A function that makes embedded tokens of rows of the table [..., H], in the dtype of the rows.

    Args:
        model: the text model on the meta device, but for what it has beside its layers and its table.
        build: builds it once more.

    Raises:
        UserError: the embedding has numbers beside its table that only a loaded model has.
    """
    module = model.get_input_embeddings()
    if type(module).forward is nn.Embedding.forward:
        return lambda rows: rows
    with _NumbersOnHost():
        again = copy.deepcopy(build().get_input_embeddings())
    # What it has beside its table, such as a norm (Inkling), the model has been given.
    own = {name: tensor.detach().cpu() for name, tensor in module.named_parameters() if not tensor.is_meta}
    others = [name for name, _ in again.named_parameters() if name != "weight" and name not in own]
    others += [name for name, buffer in again.named_buffers() if buffer.is_meta]
    if others or not isinstance(again, nn.Embedding):
        raise UserError(
            f"{type(module).__name__} needs {', '.join(others) or 'other code'} beside a table, which has no values, "
            "and ream cannot run it"
        )
    again.padding_idx = None  # matters for gradients alone, and may lie beyond the rows

    @torch.no_grad()
    def embedded(rows: Tensor) -> Tensor:
        flat = rows.reshape(-1, rows.shape[-1])
        given = {name: tensor.to(rows.dtype) for name, tensor in own.items()} | {"weight": flat}
        output: Tensor = torch.func.functional_call(again, given, (torch.arange(len(flat)),))
        return output.reshape(rows.shape)

    return embedded
