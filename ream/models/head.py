"""The logits of hidden states behind the last layer, through the model's own forward from there on.

Transformers' language model is built without weights. In its forward the layers pass their input on and the last one
returns the given hidden states, so whatever the model does behind it is done: how it makes one hidden state of several
streams, its final norm, its head, and what it does to the logits (a factor, a soft cap).
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import MoeModelOutputWithPast

from ream.errors import UNUSABLE, UserError, one_line
from ream.models.decoder import Decoder
from ream.models.family.language_model import language_model
from ream.models.family.modelling import explained

BLOCK_BYTES = 1 << 25  # of float32 logits computed at a time


def rows_at_once(vocabulary: int) -> int:
    """Tokens whose float32 logits take about BLOCK_BYTES; one at least."""
    return max(1, BLOCK_BYTES // (4 * vocabulary))


class Head:
    """What comes behind a model's last layer, with its weights.

    Attributes:
        vocabulary: V.
        rows: tokens whose logits are computed at a time, so that they take about BLOCK_BYTES.
    """

    def __init__(self, decoder: Decoder, trust_remote_code: bool = False) -> None:
        """Build the language model without weights; those of the head are read when it is called first.

        Args:
            decoder: of the model; its layers must not be loaded while this is used.
            trust_remote_code: let the model's own configuration code run.

        Raises:
            UserError: transformers has no language model for it, or one whose head is more than an output layer.
        """
        self._decoder, checkpoint, family = decoder, decoder.checkpoint, decoder.architecture.family
        kind, config = language_model(checkpoint, family, trust_remote_code)
        with explained(checkpoint.folder / "config.json"), torch.device("meta"):
            model: Any = kind._from_config(config, dtype=decoder.dtype).eval()
        head, below = model.get_output_embeddings(), _below(model, type(decoder.text))
        if head is None or below is None:
            raise UserError(f"{checkpoint.folder}: {kind.__name__} has no output layer above its text model")
        self._below = _Behind(decoder)
        setattr(model, below, self._below)
        tied = family.ties_head(checkpoint.config) and family.head not in checkpoint.logical
        inside = {id(tensor) for tensor in head.parameters()}
        rest = [name for name, tensor in model.named_parameters() if id(tensor) not in inside]
        if rest and family.text is None:
            raise UserError(f"{checkpoint.folder}: {kind.__name__} has {rest[0]} beside its layers, norm and head")
        self._model, self._name = model, kind.__name__
        self._output, self._stored = head, family.embedding if tied else family.head
        self.vocabulary: int = head.weight.shape[0]
        self.rows = rows_at_once(self.vocabulary)

    @torch.no_grad()
    def __call__(self, leaving: Tensor) -> Tensor:
        """Logits of single tokens; each is computed from its own hidden state alone.

        Args:
            leaving: [t, ...] hidden states that leave the last layer, on any device; [t, H] for most models.

        Returns:
            [t, V] float32 on the decoder's device.

        Raises:
            UserError: transformers' forward needs more than hidden states there; or the logits hold NaN or Inf.
        """
        if self._output.weight.is_meta:
            self._decoder.fill(self._output, self._stored)
        token = leaving.new_zeros(1, 1, self._decoder.architecture.hidden, device=self._decoder.device)
        self._below.leaving = leaving.to(self._decoder.device)[:, None]
        try:
            logits: Tensor = self._model(inputs_embeds=token, use_cache=False).logits[:, 0].float()
        except UNUSABLE as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise UserError(f"ream cannot run the head of {self._name} by itself ({reason})") from error
        finally:
            self._below.leaving = None
        if not bool(torch.isfinite(logits.sum())):
            raise UserError(
                f"{self._decoder.checkpoint.folder}: logits hold NaN or Inf in {self._decoder.dtype}; try "
                "compute.dtype: float32 or check the checkpoint"
            )
        return logits


def _below(model: nn.Module, text: type[nn.Module]) -> str | None:
    """Name of the part of a language model that has the text model; None where it is the language model itself."""
    parts = model.named_children()
    return next((name for name, part in parts if any(type(module) is text for module in part.modules())), None)


class _Behind(nn.Module):
    """Stands in for the model below the head: its layers return the hidden states that it is told."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self._decoder = (decoder,)  # in a tuple, so that its module is not one of this one's
        self.leaving: Tensor | None = None

    def forward(self, *_: object, **__: object) -> "_Output":
        """The output of the text model behind its last layer."""
        assert self.leaving is not None
        return _Output(last_hidden_state=self._decoder[0].behind(self.leaving))


class _Output(MoeModelOutputWithPast):
    """The output of any model below a head: whatever a head reads of it beside the hidden states is None."""

    def __getattr__(self, name: str) -> None:
        """None for what the class has no field for, such as the hidden states of images."""
        if name.startswith("__"):
            raise AttributeError(name)
