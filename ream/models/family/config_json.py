"""config.json as a typed model: the keys that ream or the modelling code reads have their types and ranges.

Keys that are not listed here pass as they are. ``true`` is not a number, NaN and infinity are not either, and null
stands for a key that is left out. What is refused here would otherwise be a traceback, or take all memory, later.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ream.errors import UserError
from ream.machine.files import read_table
from ream.models.family.family import Family
from ream.models.quantization.config_types import Lenient, Names, validated
from ream.models.storage.checkpoint import MOST_CONFIG_BYTES

MOST_EXPERTS = 200_000  # in all layers together; the largest public models have 25,000

Layers = Annotated[int, Field(ge=1, le=1_000)]
Size = Annotated[int, Field(ge=1, le=1 << 20)]
Width = Annotated[int, Field(ge=0, le=1 << 24)]
Vocabulary = Annotated[int, Field(ge=1, le=1 << 27)]
Count = Annotated[int, Field(ge=0, le=1 << 16)]  # 0 where a model has none
Heads = Annotated[int, Field(ge=1, le=1 << 16)]
Long = Annotated[int, Field(ge=1, le=1 << 40)]
Token = Annotated[int, Field(ge=-1, le=1 << 31)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tokens = list[Token]
ByLayer = Annotated[list[Heads], Field(min_length=1, max_length=1_000)]
Widths = Annotated[list[Width], Field(min_length=1, max_length=1_000)]


class Rope(Lenient):
    """rope_parameters, or rope_scaling and rope_theta as older configs have them; some have a table for each kind."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Positive | None = None
    factor: Positive | None = None
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    original_max_position_embeddings: Long | None = None
    beta_fast: Real | None = None
    beta_slow: Real | None = None
    mscale: Real | None = None
    mscale_all_dim: Real | None = None
    attention_factor: NotNegative | None = None
    low_freq_factor: Real | None = None
    high_freq_factor: Real | None = None
    mrope_section: list[Count] | None = None


class TextConfig(Lenient):
    """The keys of a text model, of all families."""

    model_type: str | None = None
    hidden_act: str | None = None
    scoring_func: str | None = None
    topk_method: str | None = None
    dtype: str | None = None
    torch_dtype: str | None = None
    architectures: Names | None = None
    auto_map: dict[str, Any] | None = None

    num_hidden_layers: Layers | None = None
    hidden_size: Size | None = None
    vocab_size: Vocabulary | None = None
    max_position_embeddings: Long | None = None
    intermediate_size: Width | None = None
    intermediate_size_mlp: Width | None = None
    moe_intermediate_size: Width | Widths | None = None
    shared_expert_intermediate_size: Width | None = None

    num_attention_heads: Heads | None = None
    num_key_value_heads: Heads | None = None
    head_dim: Count | None = None  # 0 is GLM-5-Next's, whose attention has no rotary part
    v_head_dim: Size | None = None
    qk_nope_head_dim: Count | None = None
    qk_rope_head_dim: Count | None = None
    q_lora_rank: Width | None = None
    kv_lora_rank: Width | None = None
    linear_num_key_heads: Heads | None = None
    linear_num_value_heads: Heads | None = None
    linear_key_head_dim: Size | None = None
    linear_value_head_dim: Size | None = None
    linear_conv_kernel_dim: Annotated[int, Field(ge=1, le=1 << 10)] | None = None
    full_attention_interval: Heads | None = None
    sliding_window: Annotated[int, Field(ge=0, le=1 << 40)] | None = None
    attention_chunk_size: Long | None = None

    num_experts: Count | None = None
    num_local_experts: Count | None = None
    n_routed_experts: Count | None = None
    moe_num_experts: Count | None = None
    num_experts_per_tok: Heads | ByLayer | None = None
    moe_k: Heads | None = None
    moe_topk: Heads | ByLayer | None = None
    n_shared_experts: Count | None = None
    moe_num_shared_experts: Count | None = None
    n_group: Count | None = None
    topk_group: Count | None = None
    num_nextn_predict_layers: Annotated[int, Field(ge=0, le=100)] | None = None
    num_mtp_layers: Annotated[int, Field(ge=0, le=100)] | None = None
    mtp_num_hidden_layers: Annotated[int, Field(ge=0, le=100)] | None = None

    decoder_sparse_step: Heads | None = None
    first_k_dense_replace: Count | None = None
    interleave_moe_layer_step: Heads | None = None
    moe_layer_interval: Heads | None = None
    moe_layer_start_index: Count | None = None
    moe_layer_end_index: Annotated[int, Field(ge=-1, le=1 << 16)] | None = None
    mlp_only_layers: Annotated[list[Count], Field(max_length=1_000)] | None = None
    moe_layers: Annotated[list[Count], Field(max_length=1_000)] | None = None
    no_rope_layers: Annotated[list[Count], Field(max_length=1_000)] | None = None
    layer_types: Annotated[list[str], Field(max_length=1_000)] | None = None

    rms_norm_eps: Positive | None = None
    rope_theta: Positive | None = None
    rope_scaling: Rope | None = None
    rope_parameters: Rope | None = None
    partial_rotary_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    routed_scaling_factor: Real | None = None
    attention_dropout: NotNegative | None = None
    initializer_range: NotNegative | None = None
    swiglu_alpha: Real | None = None
    swiglu_limit: Real | None = None
    tie_word_embeddings: bool | None = None
    norm_topk_prob: bool | None = None
    attention_bias: bool | None = None
    use_qk_norm: bool | None = None

    bos_token_id: Token | Tokens | None = None
    eos_token_id: Token | Tokens | None = None
    pad_token_id: Token | None = None


class Config(TextConfig):
    """config.json: a text model's, or a multimodal wrapper's with the text model's inside."""

    text_config: TextConfig | None = None


def read_config(path: str | Path) -> dict[str, Any]:
    """The content of a config.json, whose keys have the types and ranges that the known families give them.

    Raises:
        UserError: see `read_table` and `check_config`.
    """
    config = read_table(path, MOST_CONFIG_BYTES)
    validated(Config, config, str(path))
    return config


def check_config(config: Mapping[str, Any], family: Family, where: str) -> None:
    """Refuse a config with a value that is not of its key's type or is out of its range.

    Args:
        config: content of config.json.
        family: of the model; other families may use the same keys in another way.
        where: the file, for messages.

    Raises:
        UserError: names the key, the value and what is allowed.
    """
    checked = validated(Config, config, where)
    for level in (checked, checked.text_config):
        if level is not None:
            _check_together(level, family, where)


def _check_together(level: TextConfig, family: Family, where: str) -> None:
    """Refuse numbers that do not fit each other."""
    layers = level.num_hidden_layers
    if layers is None:
        return
    for key in family.experts_keys:
        experts = getattr(level, key, None)
        if isinstance(experts, int) and layers * experts > MOST_EXPERTS:
            raise UserError(
                f"{where}: num_hidden_layers {layers} times {key} {experts} is more than {MOST_EXPERTS:,} experts; "
                "correct them, or fetch it again"
            )
    if level.layer_types is not None and len(level.layer_types) < layers:
        raise UserError(
            f"{where}: layer_types has {len(level.layer_types)} entries for num_hidden_layers {layers}; correct one "
            "of them, or fetch it again"
        )
