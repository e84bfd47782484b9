"""What the routers of all families decide, in loops and float64, written from the papers and model cards."""

import math
from dataclasses import dataclass


def softmax(z):
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / sum(e) for v in e]


def sigmoid(z):
    return [1 / (1 + math.exp(-v)) for v in z]


def largest(values, count, among=None):
    """Indices of the largest values."""
    return sorted(among if among is not None else range(len(values)), key=lambda j: -values[j])[:count]


def best_groups(values, groups, count, judge):
    """The experts of the ``count`` best of ``groups`` runs of experts; ``judge`` scores the values of a run."""
    size = len(values) // groups
    runs = [list(range(g * size, (g + 1) * size)) for g in range(groups)]
    chosen = sorted(range(groups), key=lambda g: -judge([values[j] for j in runs[g]]))[:count]
    return [j for g in chosen for j in runs[g]]


def two_best(values):
    return sum(sorted(values)[-2:])


@dataclass(frozen=True)
class Router:
    """What a router has beside its logits.

    Attributes:
        k: number of experts that a token selects.
        bias: of each expert, for the selection.
        groups: n_group.
        top_groups: topk_group.
        scale: routed_scaling_factor.
    """

    k: int
    bias: list | None = None
    groups: int = 1
    top_groups: int = 1
    scale: float = 1.0


def renormalised(z, router):
    p = softmax(z)
    chosen = largest(p, router.k)
    return {j: p[j] / sum(p[i] for i in chosen) for j in chosen}


def as_they_are(z, router):
    """Not renormalised, in the configs of these models."""
    p = softmax(z)
    return {j: p[j] for j in largest(p, router.k)}


def deepseek_v3(z, router):
    s = sigmoid(z)
    biased = [v + b for v, b in zip(s, router.bias, strict=True)]
    chosen = largest(biased, router.k, best_groups(biased, router.groups, router.top_groups, two_best))
    return {j: router.scale * s[j] / sum(s[i] for i in chosen) for j in chosen}


def deepseek_v2(z, router):
    p = softmax(z)
    chosen = largest(p, router.k, best_groups(p, router.groups, router.top_groups, max))
    return {j: router.scale * p[j] for j in chosen}


def biased(scores):
    """The bias counts for the selection alone."""

    def select(z, router):
        p = scores(z)
        chosen = largest([v + b for v, b in zip(p, router.bias, strict=True)], router.k)
        return {j: p[j] / sum(p[i] for i in chosen) for j in chosen}

    return select


def gpt_oss(z, router):
    chosen = largest(z, router.k)
    weights = softmax([z[j] for j in chosen])
    return dict(zip(chosen, weights, strict=True))


def llama4(z, router):
    """The score scales the input, not the output."""
    return dict.fromkeys(largest(z, router.k), 1.0)


RULES = {
    "qwen3_moe": renormalised, "qwen3_next": renormalised, "qwen3_5_moe": renormalised,
    "qwen3_5_moe_text": renormalised, "mixtral": renormalised,
    "qwen2_moe": as_they_are, "olmoe": as_they_are,
    "glm4_moe": deepseek_v3, "deepseek_v3": deepseek_v3, "kimi_k2": deepseek_v3, "deepseek_v2": deepseek_v2,
    "ernie4_5_moe": biased(softmax), "minimax_m2": biased(sigmoid),
    "gpt_oss": gpt_oss, "llama4": llama4, "llama4_text": llama4,
}  # fmt: skip
SIGMOIDS = ("glm4_moe", "deepseek_v3", "kimi_k2", "minimax_m2", "llama4", "llama4_text")


def selected(family, z, k, bias=None, groups=1, top_groups=1, scale=1.0):
    """{expert: weight} of one token.

    Args:
        family: model_type.
        z: logits of the experts that there are.
        k, bias, groups, top_groups, scale: see `Router`.
    """
    return RULES[family](z, Router(k, bias, groups, top_groups, scale))


def score(family, z):
    """p(x), the scores of all experts."""
    return sigmoid(z) if family in SIGMOIDS else softmax(z)
