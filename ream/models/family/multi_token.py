"""How multi-token layers are named in the checkpoints of the families that have such layers."""

from collections.abc import Container

from ream.models.family.multi_token_names import MultiToken

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
