"""The arithmetic of a compression in floating-point operations; an addition and a multiplication are one each.

Only products of matrices are counted; norms, activations and sums are small beside them. Padding counts as tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ream.core.composition import OUTPUT_MEANS
from ream.core.output_sample import BLOCKS
from ream.estimate.choice_cost import blocks_tried, router_flops, trials_flops, trials_solving_flops
from ream.estimate.pieces import components_of
from ream.estimate.refit_cost import (
    blocks_again,
    choice_flops,
    fit_flops,
    handing_flops,
    neuron_flops,
    refit_flops,
    solving_flops,
    target_flops,
)
from ream.estimate.work import Work
from ream.models.family.architecture import Architecture
from ream.models.inspection.inventory import Inventory

PRODUCTS = 7  # with all weights of a layer, for their components: a basis, two iterations, its image, the projection
CHUNK = 64  # tokens that transformers' linear attention handles at a time


@dataclass(frozen=True)
class Flops:
    """Floating-point operations of the parts of a compression.

    Attributes:
        layers: the forward pass of attention, shared experts and dense layers.
        statistics: what they compute of experts: of all on all tokens or a sample, of those that tokens are routed to.
        routed: the forward pass of the router and, where the statistics have not given their outputs, of the experts
            that tokens are routed to.
        probes: neuron activations of the probe tokens, and principal components of the neurons' weights.
        double: cost matrices of the alignment and sums of the statistics, in float64.
        assignment: steps of the assignment problems, D³ for each; no solver needs more than a few times as many.
        refit: products over the tokens for the refit's targets, the choice of neurons and the refit.
        solving: the equations that these solve, in float64, with factors and rank-one changes.
    """

    layers: float
    statistics: float
    routed: float
    probes: float
    double: float
    assignment: float
    refit: float = 0.0
    solving: float = 0.0

    @property
    def compute(self) -> float:
        """Operations in the dtype of the computation."""
        return self.layers + self.statistics + self.routed + self.probes + self.refit

    @property
    def total(self) -> float:
        """All operations but the steps of the assignment."""
        return self.compute + self.double + self.solving


def flops_of(parts: Inventory, architecture: Architecture, numbers: Mapping[str, Any], work: Work) -> Flops:
    """Count the operations of a compression.

    Args:
        parts: sizes of the model's parts.
        architecture: of the model.
        numbers: config.json, the text model's part.
        work: what is to be done.
    """
    hidden, width, moe = architecture.expert_hidden, architecture.width, architecture.moe_layers
    experts, matrices = architecture.experts, len(architecture.projections)
    family, tokens = architecture.family, work.all_tokens
    routed_again = work.experts if work.sequential else experts  # experts of the layer that hidden states go through
    weights = sum(layer.other.weights + layer.shared.weights for layer in parts.layers)
    attention = sum(attention_flops(numbers, index, work.tokens) for index in range(architecture.depth))
    neurons = neuron_flops(architecture)
    once, routed_norms = architecture.top_k * tokens, "norms" in work.needs
    rows = 2 if work.sampled is None else BLOCKS * len(work.needs & OUTPUT_MEANS)  # sums that a neuron enters
    measured = work.dense_tokens * experts * (neurons + 2.0 * rows * width)  # all experts, for means of outputs
    measured += once * (2.0 * hidden * width * routed_norms + neurons * work.routed)
    measured += tokens * handing_flops(architecture, experts)
    known = work.routed and not work.sequential  # the statistics have given the layer's routed outputs
    alone = work.routed and work.sequential and work.device.type == "cpu"  # routed experts, beside the block's router
    active = routed_again if family.dense and not alone else architecture.top_k
    routed = 2.0 * architecture.hidden * (experts + (2 if alone else 1) * routed_again)
    routed += 0.0 if known else active * 2.0 * matrices * hidden * width
    routed += handing_flops(architecture, routed_again) if alone else 0.0
    pairs = (experts - work.experts) * len(moe) if work.merges and work.terms else 0
    probes = min(work.probes, work.pass_tokens) if "activations" in work.terms else 0
    features = probes + (matrices * hidden if "weights" in work.terms else 0)
    features += components_of(architecture) if "weights-pca" in work.terms else 0
    components = PRODUCTS * 2.0 * experts * width * matrices * hidden * components_of(architecture)
    components *= len(moe) if pairs and "weights-pca" in work.terms else 0
    shared = 2.0 * sum(layer.shared.weights for layer in parts.layers)
    if work.candidates:
        trials, solving, again = (
            trials_flops(architecture, work),
            trials_solving_flops(architecture, work),
            blocks_tried,
        )
    else:
        trials, solving, again = refit_flops(architecture, work) + fit_flops(architecture, work), 0.0, blocks_again
    refit = tokens * shared * again(work)
    refit += len(moe) * (target_flops(architecture, work) + trials + choice_flops(architecture, work))
    refit += len(moe) * router_flops(architecture, work)
    sums = 2.0 * experts**2 * tokens if "logit-gram" in work.needs else 0.0
    if work.dense_tokens:
        sums += 2.0 * rows * experts * hidden * width * work.passes
    return Flops(
        layers=tokens * work.streams * (2.0 * weights + attention),
        statistics=len(moe) * measured,
        routed=len(moe) * tokens * routed,
        probes=2.0 * pairs * probes * neurons + components,
        double=len(moe) * sums + 2.0 * pairs * features * width**2,
        assignment=float(pairs) * width**3,
        refit=refit,
        solving=len(moe) * (solving + solving_flops(architecture, work)),
    )


def attention_flops(numbers: Mapping[str, Any], layer: int, length: int) -> float:
    """Operations of attention for one token, without the projections; all ``length`` positions count.

    Args:
        numbers: config.json, the text model's part.
        layer: index; multi-token layers follow the decoder's, and their attention is over all tokens.
        length: tokens of a sequence.
    """
    if _has_linear_attention(numbers, layer):
        heads, k, v = (int(numbers[f"linear_{key}"]) for key in ("num_value_heads", "key_head_dim", "value_head_dim"))
        padded = math.ceil(length / CHUNK) * CHUNK / length
        # Gated delta rule: two triangular systems, q kᵀ and β k kᵀ inside a chunk; the state read twice, written once.
        return padded * heads * (CHUNK * (5.0 * k + 3.0 * v) + 6.0 * k * v)
    types = numbers.get("layer_types") or numbers.get("layers_block_type") or []
    if layer < len(types) and (types[layer] == "linear_attention" or "attention" not in types[layer]):
        return 0.0  # a state space, a convolution, or no mixing of tokens: small beside their projections
    heads = int(numbers["num_attention_heads"])
    if "qk_nope_head_dim" in numbers:  # latent attention
        dims = sum(int(numbers[key]) for key in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    else:
        dims = 2 * int(numbers.get("head_dim") or numbers["hidden_size"] // heads)
    return 2.0 * length * heads * dims


def _has_linear_attention(numbers: Mapping[str, Any], layer: int) -> bool:
    """Whether a decoder layer has linear attention; of Qwen3-Next's layers all but every fourth, unless config says."""
    if "linear_num_value_heads" not in numbers or layer >= numbers["num_hidden_layers"]:
        return False
    types = numbers.get("layer_types")
    if types:
        return bool(types[layer] == "linear_attention")
    return (layer + 1) % int(numbers.get("full_attention_interval") or 4) != 0
