"""Model families as data: one entry each; what has no entry is derived (`ream.models.family.derived`).

Why an entry is kept stands above it. All but Kimi-K2's and Llama-4's could be derived, and a test compares them with
what is derived, field by field. Commands on families with an entry do not wait for that, nor to import transformers.

To add a family, write an entry in FAMILIES and, in tests/models/families.py, a builder of a tiny model: every test of
families then runs for it. docs/families.md is generated from both.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ream.errors import NotMixtureError, UserError
from ream.models.family.family import Family, RouterTensor
from ream.models.family.layout import INTERLEAVED, NUMBERED, PER_EXPERT, STACKED, TRANSPOSED
from ream.models.family.multi_token import BESIDE, COUNTED_ON
from ream.models.family.sparse_layers import INTERVAL, LISTED, STEP, after_dense

QWEN: dict[str, Any] = {"experts_keys": ("num_experts", "num_local_experts"), "width_key": "moe_intermediate_size"}
GATE_AND_BIAS = (RouterTensor("gate.weight"), RouterTensor("gate.e_score_correction_bias", exact=True))
DEEPSEEK_V3: dict[str, Any] = {
    "experts_keys": ("n_routed_experts",),
    "width_key": "moe_intermediate_size",
    "router": GATE_AND_BIAS,
    "scores": "sigmoid",
    "router_groups_key": "n_group",
    "router_top_groups_key": "topk_group",
    "router_group_best": 2,
    "multi_token": COUNTED_ON,
    "shared": True,
    "sparse": after_dense(3),
}
QWEN_3_5: dict[str, Any] = {**QWEN, "layouts": (STACKED, PER_EXPERT), "shared": True, "multi_token": BESIDE}
LLAMA_4: dict[str, Any] = {
    "experts_keys": ("num_local_experts",),
    "width_key": "intermediate_size",
    "layouts": (TRANSPOSED,),
    "module_layout": TRANSPOSED,
    "router": (RouterTensor("router.weight"),),
    "scores": "sigmoid",
    "rule": "scales-inputs",
    "moe": "feed_forward",
    "block": "feed_forward",
    "pair": True,
    "dense": True,
    "shared": True,
    "sparse": LISTED,
}

FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        # The demo's: its stages start in a second, without transformers. Real checkpoints have num_experts;
        # transformers 5 writes num_local_experts.
        Family("qwen3_moe", ("Qwen3-30B-A3B", "Qwen3-Coder-480B-A35B"), **QWEN, sparse=STEP),
        # Transformers takes two names of the experts key and tells of one.
        Family("qwen2_moe", ("Qwen1.5-MoE-A2.7B", "Qwen2-57B-A14B"), **QWEN, shared=True, sparse=STEP),
        # This and those up to kimi_k2 may have MTP layers, which transformers leaves out: from config.json alone only
        # an entry tells that they can be there.
        Family(
            "qwen3_next",
            ("Qwen3-Next-80B-A3B", "Qwen3-Coder-Next"),
            **QWEN,
            shared=True,
            multi_token=BESIDE,
            sparse=STEP,
        ),
        Family("qwen3_5_moe_text", ("Qwen3.5-35B-A3B, text part alone",), **QWEN_3_5),
        Family(
            "qwen3_5_moe",
            ("Qwen3.5-35B-A3B",),
            **QWEN_3_5,
            text="text_config",
            layer_prefix="model.language_model.layers.{layer}.",
            embedding="model.language_model.embed_tokens.weight",
            final_norm="model.language_model.norm.weight",
            text_prefixes={"model.language_model.": "model.", "lm_head.": "lm_head."},
        ),
        Family("glm4_moe", ("GLM-4.5", "GLM-4.5-Air", "GLM-4.6"), **DEEPSEEK_V3 | {"sparse": after_dense(1)}),
        Family("deepseek_v3", ("DeepSeek-V3", "DeepSeek-R1"), **DEEPSEEK_V3),
        # DeepSeek-V3's code under a model_type that transformers does not know, so that nothing can be derived.
        Family("kimi_k2", ("Kimi-K2-Instruct",), **DEEPSEEK_V3, modelling="deepseek_v3"),
        # These up to gpt_oss could be derived; they stay because their stages then start without transformers.
        Family(
            "deepseek_v2",
            ("DeepSeek-V2", "DeepSeek-V2-Lite"),
            experts_keys=("n_routed_experts",),
            width_key="moe_intermediate_size",
            router_groups_key="n_group",
            router_top_groups_key="topk_group",
            shared=True,
            sparse=after_dense(0),
        ),
        Family(
            "ernie4_5_moe",
            ("ERNIE-4.5-21B-A3B", "ERNIE-4.5-300B-A47B"),
            experts_keys=("moe_num_experts",),
            top_k_key="moe_k",
            width_key="moe_intermediate_size",
            router=(
                RouterTensor("gate.weight", exact=True),
                RouterTensor("moe_statics.e_score_correction_bias", axis=1, exact=True),
            ),
            renamed={"moe_statics.e_score_correction_bias": "gate.moe_statics.e_score_correction_bias"},
            tied=True,
            shared=True,
            sparse=INTERVAL,
        ),
        Family(
            "mixtral",
            ("Mixtral-8x7B", "Mixtral-8x22B"),
            experts_keys=("num_local_experts",),
            width_key="intermediate_size",
            layouts=(NUMBERED,),
            moe="block_sparse_moe",
        ),
        Family(
            "minimax_m2",
            ("MiniMax-M2",),
            experts_keys=("num_local_experts",),
            width_key="intermediate_size",
            layouts=(NUMBERED,),
            router=(RouterTensor("gate.weight"), RouterTensor("e_score_correction_bias", exact=True)),
            scores="sigmoid",
            rule="gate-and-bias",
            moe="block_sparse_moe",
        ),
        Family(
            "olmoe", ("OLMoE-1B-7B",), experts_keys=("num_experts", "num_local_experts"), width_key="intermediate_size"
        ),
        Family(
            "gpt_oss",
            ("gpt-oss-20b", "gpt-oss-120b"),
            experts_keys=("num_local_experts", "num_experts"),
            width_key="intermediate_size",
            layouts=(INTERLEAVED,),
            module_layout=INTERLEAVED,
            router=(RouterTensor("router.weight"), RouterTensor("router.bias")),
            rule="router",
            pair=True,
            unit="clamped",
        ),
        # Not derivable: the router scales the experts' inputs, and the block hands no indices and weights to them.
        Family("llama4_text", ("Llama-4-Scout, text part alone",), **LLAMA_4),
        Family(
            "llama4",
            ("Llama-4-Scout", "Llama-4-Maverick"),
            **LLAMA_4,
            text="text_config",
            layer_prefix="language_model.model.layers.{layer}.",
            embedding="language_model.model.embed_tokens.weight",
            final_norm="language_model.model.norm.weight",
            text_prefixes={"language_model.": ""},
        ),
    )
}


class NotDerivedError(UserError):
    """A model's family has no entry and cannot be derived."""


def expert_counts(config: Mapping[str, Any]) -> dict[str, int]:
    """The keys of a config.json, or of what is inside it, that seem to count experts, with their values."""
    counts: dict[str, int] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            counts = expert_counts(value) | counts
            continue
        numbers = value if isinstance(value, list) else [value]  # a list has a number for each layer
        if "expert" in key and numbers and all(type(number) is int for number in numbers) and max(numbers) > 0:
            counts[key] = max(numbers)
    return counts


def family_of(
    config: Mapping[str, Any], where: str, shapes: Callable[[], Mapping[str, tuple[int, ...]]] | None = None
) -> Family:
    """The family of a config.json: an entry or, for a model_type without one, what is derived from the checkpoint.

    A derivation imports transformers, which takes 6 s, and takes seconds itself; it is done once for a checkpoint.

    Args:
        config: content of config.json.
        where: the model, for messages.
        shapes: gives those of the checkpoint's tensors by name, where they are known.

    Raises:
        NotMixtureError: the model is not a Mixture-of-Experts model.
        NotDerivedError: its family has no entry and cannot be derived.
    """
    model_type = config.get("model_type", "(none)")
    if not isinstance(model_type, str):
        raise UserError(f"{where}: model_type of config.json is {model_type!r:.100}, not text; fetch it again")
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    if not expert_counts(config):
        raise NotMixtureError(
            f"{where}: config.json of model_type '{model_type}' gives no number of experts, so it is not a "
            f"Mixture-of-Experts model; families with an entry: {', '.join(sorted(FAMILIES))}"
        )
    from ream.models.family.derived.derive import derive
    from ream.models.family.derived.refusal import NotDerivableError

    try:
        return derive(config, None if shapes is None else shapes())
    except NotDerivableError as reason:
        raise NotDerivedError(
            f"{where}: model_type '{model_type}' has no entry in ream/models/family/families.py and cannot be derived: "
            f"{reason}; families with an entry: {', '.join(sorted(FAMILIES))}"
        ) from reason
