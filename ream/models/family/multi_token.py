"""How multi-token layers are named in the checkpoints of the families that have such layers."""

from collections.abc import Container
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


# DeepSeek-V3 and GLM-4.5: further layers, whose numbers count on from the decoder's.
COUNTED_ON = MultiToken(
    prefix="model.layers.{layer}.",
    embedding_norm="enorm.weight",
    hidden_norm="hnorm.weight",
    projection="eh_proj.weight",
    output_norm="shared_head.norm.weight",
    shared=("embed_tokens.weight", "shared_head.head.weight"),
    inside=True,
    count_keys=("num_nextn_predict_layers", "num_mtp_layers"),
)
# Qwen: a model of its own beside the decoder.
BESIDE = MultiToken(
    prefix="mtp.layers.{index}.",
    embedding_norm="mtp.pre_fc_norm_embedding.weight",
    hidden_norm="mtp.pre_fc_norm_hidden.weight",
    projection="mtp.fc.weight",
    output_norm="mtp.norm.weight",
    shared=(),
    inside=False,
    count_keys=("mtp_num_hidden_layers", "num_nextn_predict_layers"),
)


COUNT_KEYS = tuple(dict.fromkeys(COUNTED_ON.count_keys + BESIDE.count_keys))


def multi_token_in(names: Container[str], layers: int) -> MultiToken | None:
    """How a checkpoint names its multi-token layers; None where it has none that are named in a known way.

    Args:
        names: of its tensors.
        layers: number of decoder layers.
    """
    for kind in (COUNTED_ON, BESIDE):
        start = kind.prefix.format(layer=layers) if kind.inside else ""
        own = (kind.embedding_norm, kind.hidden_norm, kind.projection, kind.output_norm)
        if all(start + name in names for name in own):
            return kind
    return None
