"""Model families as data: where a family keeps its experts on disk, and which config keys count them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ream.errors import UserError


@dataclass(frozen=True)
class Family:
    """How the checkpoints of one architecture are laid out.

    Attributes:
        model_type: of config.json.
        experts_keys: config keys that may hold N; every one that is present is updated.
        top_k_key: config key of k.
        width_key: config key of the expert width D.
        layer_prefix: of a decoder layer's tensors, with ``{layer}``.
        moe: name of the MoE block within the decoder layer.
        gate, up, down: tensors of one expert within the MoE block, with ``{expert}``.
        router: tensors of the MoE block with one row an expert.
        scores: of routing.SCORES, what p(x) is.
        router_groups_key: config key of n_group, where the router is group-limited.
    """

    model_type: str
    experts_keys: tuple[str, ...]
    top_k_key: str
    width_key: str
    layer_prefix: str = "model.layers.{layer}."
    embedding: str = "model.embed_tokens.weight"
    moe: str = "mlp"
    gate: str = "experts.{expert}.gate_proj.weight"
    up: str = "experts.{expert}.up_proj.weight"
    down: str = "experts.{expert}.down_proj.weight"
    router: tuple[str, ...] = ("gate.weight",)
    scores: str = "softmax"
    router_groups_key: str | None = None

    @property
    def projections(self) -> dict[str, str]:
        """Projection (``gate``, ``up``, ``down``) to its name template."""
        return {"gate": self.gate, "up": self.up, "down": self.down}


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family(
            model_type="qwen3_moe",
            # real checkpoints say num_experts; transformers 5 writes num_local_experts
            experts_keys=("num_experts", "num_local_experts"),
            top_k_key="num_experts_per_tok",
            width_key="moe_intermediate_size",
        ),
    )
}

EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_experts_per_tok")


def family_of(config: Mapping[str, Any], where: str) -> Family:
    """The family of a config.json.

    Raises:
        UserError: the model is no MoE, or one of a family that has no entry yet.
    """
    model_type = config.get("model_type", "(none)")
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    counts = {key: config[key] for key in EXPERT_COUNTS if key in config}
    if not counts:
        raise UserError(
            f"{where}: model_type '{model_type}' counts no experts in its config, so it is no Mixture-of-Experts; "
            f"supported families: {', '.join(sorted(FAMILIES))}"
        )
    raise UserError(
        f"{where}: model_type '{model_type}' is a Mixture-of-Experts ({counts}) without an entry in "
        f"ream/models/families.py; supported: {', '.join(sorted(FAMILIES))}. An entry names the tensors of an expert, "
        "the router's rows and the config keys"
    )
