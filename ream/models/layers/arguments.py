"""What a model gives its decoder layers beside the hidden states: masks, positions, rotary embeddings.

They are caught from the model's own forward, in which every layer passes its input on, once for each shape of a
micro-batch. So a layer can be called by itself with exactly what the model would give it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ream.errors import UserError
from ream.models.layers.caught import Arguments, Caught, embedding_to, tensors_of

ROWS = 7  # more than the values that a model could take from a layer
SHAPES = 4  # micro-batches of so many shapes are remembered; masks can be large
# What a model's code raises when it is called in a way that it does not take.
FOREIGN = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError, UserError)
STREAM = "hidden_states"  # the name of the layers' first argument


class _Ended(Exception):  # noqa: N818 - no error: it leaves the model's forward behind the last layer
    pass


class LayerArguments:
    """Catches the arguments of all layers of a model without weights."""

    def __init__(self, model: Any, layers: Sequence[nn.Module], state: int = 0) -> None:
        """Have every layer pass its input on, until its ``forward`` is deleted.

        Args:
            model: the text model, which takes ``inputs_embeds``. Whatever it computes before its layers needs no
                weights, or has them.
            layers: its decoder layers.
            state: number of values of a token that a layer hands to the next beside its hidden states (`of`).
        """
        self._model, self._layers, self._state = model, layers, state
        self._seen: dict[Any, Caught] = {}
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
    def catch(self, embedded: Tensor, ids: Tensor | None = None) -> Caught:
        """The arguments for a micro-batch, and what enters the first layer.

        Args:
            embedded: [B, L, H] embedded tokens.
            ids: [B, L] of these tokens, where layers are given them (`needs_ids`).

        Raises:
            UserError: layers hand something on that cannot be made up.
        """
        self._make_up(embedded, ids)
        return self._run(embedded, ids)

    @torch.no_grad()
    def behind(self, leaving: Tensor, hidden: int, ids: Tensor | None = None) -> Any:
        """What the model's own forward makes of the hidden states that leave its last layer.

        Args:
            leaving: [B, L, ...] on the device; [B, L, H] for most models.
            hidden: H.
            ids: [B, L] of the tokens, where layers are given them.

        Returns:
            The output of the text model, with ``last_hidden_state`` [B, L, H] behind its final norm.

        Raises:
            UserError: see `catch`.
        """
        embedded = leaving.new_zeros(*leaving.shape[:2], hidden)
        self._make_up(embedded, ids)
        self._leaving = leaving
        try:
            return self._forward(embedded, ids)
        finally:
            self._leaving, self._sink = None, []

    def _make_up(self, embedded: Tensor, ids: Tensor | None) -> None:
        """Have at hand what layers return beside hidden states, for a micro-batch [B, L, H]."""
        if self._hands_on is None:
            self._hands_on = self._takes_pairs(embedded, ids)
        self._handed = None
        if self._state:
            self._handed = embedded.new_zeros(*embedded.shape[:2], self._state)
        elif self._hands_on:
            self._check_handed(embedded.shape[1])
            tokens = torch.arange(embedded.shape[1], device=embedded.device)
            self._handed = tokens.expand(*embedded.shape[:2], -1).contiguous()

    @property
    def hands_on(self) -> bool | None:
        """Whether layers hand something to the next beside hidden states; None before anything was caught."""
        return self._hands_on

    def needs_ids(self, hidden: int, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether layers are given token ids, or what is computed of them (DeepSeek-V4, Qwen4).

        Args:
            hidden: H.
            dtype: of the hidden states.
            device: where layers compute.
        """
        embedded, ids = torch.zeros(1, 3, hidden, dtype=dtype, device=device), torch.arange(3, device=device)[None]
        try:
            self.catch(embedded)
        except FOREIGN:  # it looks the ids up by the embedded tokens, in a table that is not there
            return True
        try:
            caught = [self.catch(embedded, each) for each in (ids, ids.flip(1))]
        except FOREIGN:  # it takes none beside embedded tokens
            return False
        first, second = ([tensors_of(layer) for layer in each.layers] for each in caught)
        return any(
            not torch.equal(mine, other)
            for one, two in zip(first, second, strict=True)
            for mine, other in zip(one, two, strict=True)
        )

    def of(
        self,
        index: int,
        shape: tuple[int, int, int],
        dtype: torch.dtype,
        device: torch.device,
        ids: Tensor | None = None,
        state: Tensor | None = None,
    ) -> Arguments:
        """The arguments of a layer for micro-batches of this shape.

        Args:
            index: of the layer.
            shape: (B, L, H) of embedded tokens.
            dtype: of the hidden states.
            device: where the layer computes.
            ids: [B, L] of the tokens, where layers are given them.
            state: [B, L, R] that the layer before has handed on, where layers do.

        Raises:
            UserError: see `catch`.
        """
        key = (shape, None if ids is None else tuple(ids.flatten().tolist()))
        if key not in self._seen:
            if len(self._seen) >= SHAPES:
                self._seen.pop(next(iter(self._seen)))
            self._seen[key] = self.catch(torch.zeros(shape, dtype=dtype, device=device), ids)
        caught = self._seen[key]
        given = caught.layers[index]
        return given if state is None else given.replaced(caught.handed, state)

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

    def _takes_pairs(self, embedded: Tensor, ids: Tensor | None) -> bool:
        """Whether the model takes hidden states and something else from its layers, not hidden states alone."""
        rows = embedded[:1, :1].expand(ROWS, -1, -1)
        own = None if ids is None else ids[:1, :1].expand(ROWS, -1)
        for self._handed in (None, torch.zeros(ROWS, 1, 1, dtype=torch.long, device=embedded.device)):
            try:
                self._run(rows, own)
            except (TypeError, ValueError, AttributeError):
                continue
            return self._handed is not None
        raise UserError(
            f"{type(self._model).__name__} takes more from its layers than hidden states and the indices of sparse "
            "attention, which ream cannot run layer by layer"
        )

    def _run(self, embedded: Tensor, ids: Tensor | None) -> Caught:
        """One forward of the model up to its last layer."""
        self._sink = []
        try:
            self._forward(embedded, ids)
        except _Ended:
            pass
        finally:
            sink, self._sink = self._sink, []
        if len(sink) != len(self._layers):
            raise UserError(f"{type(self._model).__name__} does not run its layers one after the other")
        return Caught(sink[0][0], [arguments for _, arguments in sink], self._handed)

    def _forward(self, embedded: Tensor, ids: Tensor | None) -> Any:
        """The model's own forward, in which a layer that is loaded passes its input on, too."""
        loaded = [layer for layer in self._layers if "forward" not in vars(layer)]
        for layer in loaded:
            self.silence(layer)
        try:
            if ids is None:
                return self._model(inputs_embeds=embedded, use_cache=False)
            with embedding_to(self._model, embedded):
                return self._model(input_ids=ids, use_cache=False)
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
