"""What a model gives its decoder layers beside the hidden states: masks, positions, rotary embeddings.

They are caught from the model's own forward, in which every layer passes its input on, once for each shape of a
micro-batch. So a layer can be called by itself with exactly what the model would give it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ream.errors import UserError

ROWS = 7  # more than the values that a model could take from a layer
SHAPES = 4  # micro-batches of so many shapes are remembered; masks can be large
STREAM = "hidden_states"  # the name of the layers' first argument


@dataclass(frozen=True)
class Arguments:
    """Of one layer.

    Attributes:
        positional: those behind the hidden states.
        named: those with a name.
    """

    positional: Sequence[Any]
    named: Mapping[str, Any]


@dataclass(frozen=True)
class Caught:
    """From one forward of the model.

    Attributes:
        stream: what enters the first layer, [B, L, H]; other models have more axes behind the first two.
        layers: the arguments of every layer.
    """

    stream: Tensor
    layers: Sequence[Arguments]


class _Ended(Exception):  # noqa: N818 - no error: it leaves the model's forward behind the last layer
    pass


class LayerArguments:
    """Catches the arguments of all layers of a model without weights."""

    def __init__(self, model: Any, layers: Sequence[nn.Module]) -> None:
        """Have every layer pass its input on, until its ``forward`` is deleted.

        Args:
            model: the text model, which takes ``inputs_embeds``. Whatever it computes before its layers needs no
                weights, or has them.
            layers: its decoder layers.
        """
        self._model, self._layers = model, layers
        self._seen: dict[tuple[int, ...], Caught] = {}
        self._sink: list[tuple[Tensor, Arguments]] = []
        self._hands_on: bool | None = None  # whether layers return more than hidden states; None before it is known
        self._handed: Tensor | None = None  # stands for that
        self._leaving: Tensor | None = None  # what the last layer returns; None ends the forward there
        for layer in layers:
            self.silence(layer)

    def silence(self, layer: nn.Module) -> None:
        """Have a layer pass its input on."""
        layer.forward = self._pass_on

    @torch.no_grad()
    def catch(self, embedded: Tensor) -> Caught:
        """The arguments for a micro-batch, and what enters the first layer.

        Args:
            embedded: [B, L, H] rows of the embedding table.

        Raises:
            UserError: layers hand something on that cannot be made up.
        """
        self._make_up(embedded)
        return self._run(embedded)

    @torch.no_grad()
    def behind(self, leaving: Tensor, hidden: int) -> Any:
        """What the model's own forward makes of the hidden states that leave its last layer.

        Args:
            leaving: [B, L, ...] on the device; [B, L, H] for most models.
            hidden: H.

        Returns:
            The output of the text model, with ``last_hidden_state`` [B, L, H] behind its final norm.

        Raises:
            UserError: see `catch`.
        """
        embedded = leaving.new_zeros(*leaving.shape[:2], hidden)
        self._make_up(embedded)
        self._leaving = leaving
        try:
            return self._forward(embedded)
        finally:
            self._leaving, self._sink = None, []

    def _make_up(self, embedded: Tensor) -> None:
        """Have at hand what layers return beside hidden states, for a micro-batch [B, L, H]."""
        if self._hands_on is None:
            self._hands_on = self._takes_pairs(embedded)
        self._handed = None
        if self._hands_on:
            self._check_handed(embedded.shape[1])
            tokens = torch.arange(embedded.shape[1], device=embedded.device)
            self._handed = tokens.expand(*embedded.shape[:2], -1).contiguous()

    def of(self, index: int, shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> Arguments:
        """The arguments of a layer for micro-batches of this shape.

        Args:
            index: of the layer.
            shape: (B, L, H) of embedded tokens.
            dtype: of the hidden states.
            device: where the layer computes.

        Raises:
            UserError: see `catch`.
        """
        if shape not in self._seen:
            if len(self._seen) >= SHAPES:
                self._seen.pop(next(iter(self._seen)))
            self._seen[shape] = self.catch(torch.zeros(shape, dtype=dtype, device=device))
        return self._seen[shape].layers[index]

    def _pass_on(self, *positional: Any, **named: Any) -> Any:
        """The forward of a layer that is not loaded: keeps its arguments and returns the hidden states."""
        stream = positional[0] if positional else named[STREAM]
        others = {name: value for name, value in named.items() if name != STREAM}
        self._sink.append((stream, Arguments(positional[1:], others)))
        if len(self._sink) == len(self._layers):
            if self._leaving is None:
                raise _Ended
            stream = self._leaving
        return stream if self._handed is None else (stream, self._handed)

    def _takes_pairs(self, embedded: Tensor) -> bool:
        """Whether the model takes hidden states and something else from its layers, not hidden states alone."""
        rows = embedded[:1, :1].expand(ROWS, -1, -1)
        for self._handed in (None, torch.zeros(ROWS, 1, 1, dtype=torch.long, device=embedded.device)):
            try:
                self._run(rows)
            except (TypeError, ValueError, AttributeError):
                continue
            return self._handed is not None
        raise UserError(
            f"{type(self._model).__name__} takes more from its layers than hidden states and the indices of sparse "
            "attention, which ream cannot run layer by layer"
        )

    def _run(self, embedded: Tensor) -> Caught:
        """One forward of the model up to its last layer."""
        self._sink = []
        try:
            self._forward(embedded)
        except _Ended:
            pass
        finally:
            sink, self._sink = self._sink, []
        if len(sink) != len(self._layers):
            raise UserError(f"{type(self._model).__name__} does not run its layers one after the other")
        return Caught(sink[0][0], [arguments for _, arguments in sink])

    def _forward(self, embedded: Tensor) -> Any:
        """The model's own forward, in which a layer that is loaded passes its input on, too."""
        loaded = [layer for layer in self._layers if "forward" not in vars(layer)]
        for layer in loaded:
            self.silence(layer)
        try:
            return self._model(inputs_embeds=embedded, use_cache=False)
        finally:
            for layer in loaded:
                del layer.forward

    def _check_handed(self, tokens: int) -> None:
        """Refuse what layers hand on unless it can only be the indices of all tokens.

        DeepSeek's sparse attention (GLM-5) computes in some layers which ``index_topk`` tokens each token attends to,
        and others use the same. Where a sequence has no more tokens than that, it attends to all before it.
        """
        most = getattr(self._model.config, "index_topk", None)
        if most is None or tokens > most:
            raise UserError(
                f"{type(self._model).__name__}: layers hand the tokens that attention selects to the next; ream can "
                f"run it with sequences of at most {most or 0} tokens (index_topk), all of which are selected, but one "
                f"has {tokens}; lower calibration.tokens"
            )


def stream_of(output: Any) -> Tensor:
    """The hidden states among what a layer returns: a tensor, or the first of several values."""
    stream: Tensor = output if isinstance(output, Tensor) else output[0]
    return stream
