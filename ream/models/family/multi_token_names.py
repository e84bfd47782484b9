"""How the layers of a checkpoint that predict further tokens are named."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MultiToken:
    """Multi-token-prediction layers behind the decoder: decoder layers with norms and a projection of their own.

    The input of such a layer is projection · [embedding_norm(next token's embedding), hidden_norm(hidden states before
    it)], as in DeepSeek-V3 (arXiv 2412.19437, Eq. 21).

    Attributes:
        prefix: start of the names of a layer's tensors, with ``{layer}`` (counted on from the decoder's) or
            ``{index}`` (from 0).
        embedding_norm: norm of the next token's embedding.
        hidden_norm: norm of the hidden states.
        projection: from both, side by side, to the layer's input.
        output_norm: norm of the layer's output.
        shared: further tensors, copies of the model's own embedding and head.
        inside: whether these names follow the prefix; otherwise they are whole.
        count_keys: config keys that may hold the number of these layers.
    """

    prefix: str
    embedding_norm: str
    hidden_norm: str
    projection: str
    output_norm: str
    shared: tuple[str, ...]
    inside: bool
    count_keys: tuple[str, ...]

    @property
    def own(self) -> tuple[str, ...]:
        """Names of the tensors that a multi-token layer has beside its decoder layer's."""
        return (self.embedding_norm, self.hidden_norm, self.projection, self.output_norm, *self.shared)
