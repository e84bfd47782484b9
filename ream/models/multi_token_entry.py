"""The input of a multi-token layer, made from the hidden states before it and the tokens that follow."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ream.models.decoder import Decoder

Norm = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class MultiTokenEntry:
    """projection · [embedding_norm(next token's embedding), hidden_norm(before(hidden states))].

    As in DeepSeek-V3 (arXiv 2412.19437, Eq. 21); see `MultiToken`.

    Attributes:
        before: the norm that the hidden states pass on leaving the layer before: the model's final norm or, behind
            another multi-token layer, that layer's output norm.
        embedding_norm: norm of the embeddings.
        hidden_norm: norm of the hidden states.
        projection: [H, 2H] on the device.
        embedding: [V, H] table of the model, on the host.
        device: where the entry computes.
        dtype: in which the entry computes.
    """

    before: Norm
    embedding_norm: Norm
    hidden_norm: Norm
    projection: Tensor
    embedding: Tensor
    device: torch.device
    dtype: torch.dtype

    @torch.no_grad()
    def __call__(self, hidden: Tensor, following: Tensor) -> Tensor:
        """The input [B, L, H] of the multi-token layer, on the device of ``hidden``.

        Args:
            hidden: [B, L, H] hidden states that leave the layer before.
            following: [B, L] id of the token that follows each position.
        """
        embedded = self.embedding[following].to(device=self.device, dtype=self.dtype)
        parts = [self.embedding_norm(embedded), self.hidden_norm(self.before(hidden.to(self.device)))]
        return (torch.cat(parts, dim=-1) @ self.projection.T).to(hidden.device)


def multi_token_entry(decoder: Decoder, index: int) -> MultiTokenEntry:
    """What makes the input of a multi-token layer, with its weights on the device.

    Args:
        decoder: of the model.
        index: of the layer, counted on from the decoder's.
    """
    architecture, checkpoint, extra = decoder.architecture, decoder.checkpoint, decoder.architecture.family.multi_token
    assert extra is not None
    first = index == architecture.layers
    before = architecture.family.final_norm if first else architecture.multi_token_name(index - 1, extra.output_norm)
    projection = architecture.multi_token_name(index, extra.projection)
    return MultiTokenEntry(
        before=decoder.norm_named(before),
        embedding_norm=decoder.norm_named(architecture.multi_token_name(index, extra.embedding_norm)),
        hidden_norm=decoder.norm_named(architecture.multi_token_name(index, extra.hidden_norm)),
        projection=decoder.place(checkpoint.read(projection), projection),
        embedding=decoder.table(),
        device=decoder.device,
        dtype=decoder.dtype,
    )
