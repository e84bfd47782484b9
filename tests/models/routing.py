"""What routers of each family decide, in loops and float64, written from the papers and model cards."""

import math


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
    """Members of the ``count`` best of ``groups`` runs of experts; ``judge`` tells how good a run's values are."""
    size = len(values) // groups
    runs = [list(range(g * size, (g + 1) * size)) for g in range(groups)]
    chosen = sorted(range(groups), key=lambda g: -judge([values[j] for j in runs[g]]))[:count]
    return [j for g in chosen for j in runs[g]]


def two_best(values):
    return sum(sorted(values)[-2:])


def selected(family, z, k, bias=None, groups=1, top_groups=1, scale=1.0):
    """{expert: weight} of one token.

    Args:
        family: model_type. z: logits of the experts that there are.
        k: of them. bias: for the choice.
        groups: n_group. top_groups: topk_group. scale: routed_scaling_factor.
    """
    p = softmax(z)
    if family in ("qwen3_moe", "qwen3_next", "qwen3_5_moe", "qwen3_5_moe_text", "mixtral"):  # renormalised
        chosen = largest(p, k)
        return {j: p[j] / sum(p[i] for i in chosen) for j in chosen}
    if family in ("qwen2_moe", "olmoe"):  # not renormalised, in these models' configs
        return {j: p[j] for j in largest(p, k)}
    if family in ("glm4_moe", "deepseek_v3", "kimi_k2"):
        s = sigmoid(z)
        biased = [v + b for v, b in zip(s, bias, strict=True)]
        chosen = largest(biased, k, best_groups(biased, groups, top_groups, two_best))
        return {j: scale * s[j] / sum(s[i] for i in chosen) for j in chosen}
    if family == "deepseek_v2":
        return {j: scale * p[j] for j in largest(p, k, best_groups(p, groups, top_groups, max))}
    if family == "ernie4_5_moe":
        chosen = largest([v + b for v, b in zip(p, bias, strict=True)], k)
        return {j: p[j] / sum(p[i] for i in chosen) for j in chosen}
    if family == "minimax_m2":
        s = sigmoid(z)
        chosen = largest([v + b for v, b in zip(s, bias, strict=True)], k)
        return {j: s[j] / sum(s[i] for i in chosen) for j in chosen}
    if family == "gpt_oss":
        chosen = largest(z, k)
        weights = softmax([z[j] for j in chosen])
        return dict(zip(chosen, weights, strict=True))
    assert family in ("llama4", "llama4_text")  # the score scales the input, not the output
    return dict.fromkeys(largest(z, k), 1.0)


def score(family, z):
    """p(x), the scores of all experts."""
    sigmoids = ("glm4_moe", "deepseek_v3", "kimi_k2", "minimax_m2", "llama4", "llama4_text")
    return sigmoid(z) if family in sigmoids else softmax(z)
