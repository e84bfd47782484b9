"""The method in nested loops and float64, written from docs/method.md: the truth that the tests hold the core against.

Imports nothing of ours. Arguments are nested sequences of numbers (or float64 arrays), results are lists of floats.
One letter an axis: T tokens, N experts, K kept experts, H hidden size, D expert width, S probes.
"""

import itertools
import math


def silu(value):
    return value / (1.0 + math.exp(-value))


def softmax(row):
    top = max(row)
    exponentials = [math.exp(value - top) for value in row]
    return [value / sum(exponentials) for value in exponentials]


def sigmoid(row):
    return [1.0 / (1.0 + math.exp(-value)) for value in row]


def dot(left, right):
    return sum(float(a) * float(b) for a, b in zip(left, right, strict=True))


def norm(vector):
    return math.sqrt(dot(vector, vector))


def normalised(vector):
    """L2-normalised; a zero vector stays zero."""
    length = norm(vector)
    return [float(value) / length if length > 0 else 0.0 for value in vector]


def distance(left, right):
    return math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(left, right, strict=True)))


def largest(values, among):
    """Index of the largest value among ascending indices; the lower one where they tie."""
    best = among[0]
    for index in among:
        if values[index] > values[best]:
            best = index
    return best


# Statistics


def hidden(x, gate, up):
    """h(x) = silu(W_gate x) * (W_up x), [D]."""
    return [silu(dot(gate[d], x)) * dot(up[d], x) for d in range(len(gate))]


def expert_output(x, gate, up, down):
    """E(x) = W_down h(x), [H]."""
    h = hidden(x, gate, up)
    return [dot(row, h) for row in down]


def route(x, router, top_k, scores="softmax", renormalise=True, scale=1.0, bias=None):
    """(z, p, T(x), g) of each token: the selection is by p + bias, the combine weights are p of the selected."""
    logits, probabilities, selected, weights = [], [], [], []
    for token in x:
        z = [dot(row, token) for row in router]
        p = softmax(z) if scores == "softmax" else sigmoid(z)
        choice = [p[j] + (bias[j] if bias is not None else 0.0) for j in range(len(p))]
        free, chosen = list(range(len(p))), []
        for _ in range(top_k):
            chosen.append(largest(choice, free))
            free.remove(chosen[-1])
        total = sum(p[j] for j in chosen) if renormalise else 1.0
        logits.append(z)
        probabilities.append(p)
        selected.append(chosen)
        weights.append([scale * p[j] / total for j in chosen])
    return logits, probabilities, selected, weights


def statistics(x, gate, up, down, logits, scores, indices, weights, mask=None):
    """The table of docs/method.md, "Statistics", by its names."""
    N, H = len(gate), len(down[0])
    sums = {
        "tokens": 0.0,
        "count": [0.0] * N,
        "norm_sum": [0.0] * N,
        "weighted_norm_sum": [0.0] * N,
        "released_norm_sum": [0.0] * N,
        "squared_norm_sum": [0.0] * N,
        "output_sum": [[0.0] * H for _ in range(N)],
        "gated_output_sum": [[0.0] * H for _ in range(N)],
        "logit_gram": [[0.0] * N for _ in range(N)],
        "power_norm_sum": [0.0] * N,
        "pair_count": [[0.0] * N for _ in range(N)],
        "pair_sum": [[0.0] * N for _ in range(N)],
    }
    for t in range(len(x)):
        if mask is not None and not mask[t]:
            continue
        sums["tokens"] += 1.0
        for a, i in enumerate(indices[t]):
            for b, j in enumerate(indices[t]):
                if i < N and j < N:
                    first = float(weights[t][a]) * norm(expert_output(x[t], gate[i], up[i], down[i]))
                    second = float(weights[t][b]) * norm(expert_output(x[t], gate[j], up[j], down[j]))
                    sums["pair_count"][i][j] += 1.0
                    sums["pair_sum"][i][j] += first * second
        for j in range(N):
            output = expert_output(x[t], gate[j], up[j], down[j])
            for h in range(H):
                sums["output_sum"][j][h] += output[h]
                sums["gated_output_sum"][j][h] += float(scores[t][j]) * output[h]
            for i in range(N):
                sums["logit_gram"][i][j] += float(logits[t][i]) * float(logits[t][j])
            for slot in range(len(indices[t])):
                if indices[t][slot] == j:
                    sums["count"][j] += 1.0
                    sums["norm_sum"][j] += norm(output)
                    sums["squared_norm_sum"][j] += norm(output) ** 2
                    sums["power_norm_sum"][j] += norm(output) ** 32
                    sums["weighted_norm_sum"][j] += float(weights[t][slot]) * norm(output)
                    sums["released_norm_sum"][j] += softmax([float(z) for z in logits[t]])[j] ** 2 * norm(output)
    return sums


def mixed(sums, ratios):
    """sum over sources s of r_s · sums_s / tokens_s, with the ratios divided by their sum."""

    def combine(parts):
        if isinstance(parts[0][1], list):
            return [combine([(weight, value[i]) for weight, value in parts]) for i in range(len(parts[0][1]))]
        return sum(weight * value for weight, value in parts)

    total = sum(ratios.values())
    names = [source for source in ratios if ratios[source] > 0]
    return {
        field: combine([(ratios[s] / total / sums[s]["tokens"], sums[s][field]) for s in names])
        for field in sums[names[0]]
    }


# Saliency


def saliency(kind, sums):
    N = len(sums["count"])
    if kind == "frequency":
        return [sums["count"][j] for j in range(N)]
    if kind == "ean":
        return [sums["norm_sum"][j] for j in range(N)]
    if kind == "energy":
        return [sums["pair_sum"][j][j] for j in range(N)]
    total = sums[
        {
            "reap": "weighted_norm_sum", "released": "released_norm_sum", "man": "norm_sum", "msan": "squared_norm_sum"
        }[kind]
    ]  # fmt: skip
    return [total[j] / sums["count"][j] if sums["count"][j] > 0 else 0.0 for j in range(N)]


def released_batches(sequences, size):
    """The mean over batches of so many sequences of the mean, over an expert's tokens, of softmax² ‖E‖; 0 for none.

    Sequences are the statistics of one sequence each, in order.
    """
    N, batches = len(sequences[0]["count"]), math.ceil(len(sequences) / size)
    total = [0.0] * N
    for b in range(batches):
        batch = sequences[b * size : (b + 1) * size]
        for j in range(N):
            tokens = sum(sequence["count"][j] for sequence in batch)
            norms = sum(sequence["released_norm_sum"][j] for sequence in batch)
            total[j] += norms / tokens / batches if tokens > 0 else 0.0
    return total


def raised(values):
    """Zeros become min(0.5, the smallest other value)."""
    others = [value for value in values if value > 0]
    return [min(0.5, *others) if value == 0 else value for value in values] if others else values


def ranked(values):
    """Indices by decreasing value; ties go to the lower index."""
    free, order = list(range(len(values))), []
    while free:
        order.append(largest(values, free))
        free.remove(order[-1])
    return order


# Similarity


def gate_logit_similarity(logits):
    """Eq. 5 from the logit vectors themselves, [T, N]: no Gram matrix."""
    T, N = len(logits), len(logits[0])
    vectors = [normalised([logits[t][j] for t in range(T)]) for j in range(N)]
    D = [[distance(vectors[i], vectors[j]) for j in range(N)] for i in range(N)]
    widest = max(max(row) for row in D)
    return [[1.0 - D[i][j] / widest if widest > 0 else 1.0 for j in range(N)] for i in range(N)]


def cosine_of_means(outputs, factors=None):
    """Eq. 4, or Eq. 8 with factors p: (1 + cos) / 2 of the means over tokens of E_j(x), [T, N, H]."""
    T, N, H = len(outputs), len(outputs[0]), len(outputs[0][0])
    means = [
        [
            sum((factors[t][j] if factors is not None else 1.0) * outputs[t][j][h] for t in range(T)) / T
            for h in range(H)
        ]
        for j in range(N)
    ]
    unit = [normalised(mean) for mean in means]
    return [[1.0 if i == j else (1.0 + dot(unit[i], unit[j])) / 2.0 for j in range(N)] for i in range(N)]


# Grouping: each expert's centroid (a centroid's own is itself), −1 for an expert that goes


def pruning(saliency, K):
    kept = ranked(saliency)[:K]
    return [j if j in kept else -1 for j in range(len(saliency))]


def pseudo_pruning(saliency, similarity, K, C):
    order = ranked(saliency)
    owner = {centroid: centroid for centroid in order[:K]}
    free = sorted(order[K:])
    for centroid in order[:K]:
        for _ in range(C):
            if free:
                nearest = largest(similarity[centroid], free)
                owner[nearest] = centroid
                free.remove(nearest)
    assert not free
    return [owner[j] for j in range(len(saliency))]


def nearest_centroid(saliency, similarity, K):
    centroids = sorted(ranked(saliency)[:K])
    return [j if j in centroids else largest(similarity[j], centroids) for j in range(len(saliency))]


def hierarchical(means, K):
    """Average linkage: join the two clusters whose members are nearest on average, until K are left."""
    clusters = [[j] for j in range(len(means))]
    while len(clusters) > K:
        best = None
        for a, b in itertools.combinations(range(len(clusters)), 2):
            pairs = [distance(means[i], means[j]) for i in clusters[a] for j in clusters[b]]
            average = sum(pairs) / len(pairs)
            if best is None or average < best[0]:
                best = (average, a, b)
        _, a, b = best
        clusters[a] = sorted(clusters[a] + clusters[b])
        del clusters[b]
    owner = [None] * len(means)
    for cluster in clusters:
        middle = [sum(means[j][h] for j in cluster) / len(cluster) for h in range(len(means[0]))]
        centroid = cluster[0]
        for j in cluster:  # rounding must not break a tie, such as that of every pair
            if distance(means[j], middle) < distance(means[centroid], middle) - 1e-9:
                centroid = j
        for j in cluster:
            owner[j] = centroid
    return owner


def merge_weights(saliency, owner):
    """s_j / sum of the group's s; equal weights where all are zero; 0 for an expert that goes."""
    weights = []
    for j in range(len(saliency)):
        group = [i for i in range(len(saliency)) if owner[i] == owner[j]]
        total = sum(saliency[i] for i in group)
        weights.append(0.0 if owner[j] < 0 else saliency[j] / total if total > 0 else 1.0 / len(group))
    return weights


# Alignment and merge (Eq. 6); an expert is (gate, up, down)


def alignment_cost(centroid, member, terms, probes):
    """cost[a][b] = ‖â_c,a − â_j,b‖ + ‖ŵ_c,a − ŵ_j,b‖, of the terms that are on."""

    def neuron_activations(expert, neuron):
        gate, up, _ = expert
        return normalised([silu(dot(gate[neuron], x)) * dot(up[neuron], x) for x in probes])

    def neuron_weights(expert, neuron):
        gate, up, down = expert
        return normalised([*gate[neuron], *up[neuron], *(row[neuron] for row in down)])

    features = {"activations": neuron_activations, "weights": neuron_weights}
    D = len(centroid[0])
    cost = [[0.0] * D for _ in range(D)]
    for a, b, term in itertools.product(range(D), range(D), terms):
        cost[a][b] += distance(features[term](centroid, a), features[term](member, b))
    return cost


def least_cost(cost):
    """The least total cost over all permutations, and a permutation that has it."""
    D = len(cost)
    return min(
        (sum(cost[a][permutation[a]] for a in range(D)), permutation)
        for permutation in itertools.permutations(range(D))
    )


def merged(members, saliency, permutations):
    """sum over members of s_j · aligned_j / sum s_j, as (gate, up, down)."""
    D, H = len(members[0][0]), len(members[0][0][0])
    total = sum(saliency)
    gate, up, down = ([[0.0] * H for _ in range(D)], [[0.0] * H for _ in range(D)], [[0.0] * D for _ in range(H)])
    for (g, u, w), s, permutation in zip(members, saliency, permutations, strict=True):
        for a, h in itertools.product(range(D), range(H)):
            gate[a][h] += s / total * float(g[permutation[a]][h])
            up[a][h] += s / total * float(u[permutation[a]][h])
            down[h][a] += s / total * float(w[h][permutation[a]])
    return gate, up, down
