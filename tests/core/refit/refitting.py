"""What the tests of the refit share: layers in float64, passes over them, and their design matrix in loops."""

import numpy as np
import torch

from ream.core.experts import parts
from ream.core.refit.projection_passes import Steps
from ream.core.refit.sums import RefitTokens
from tests.core import reference
from tests.core.layers import random_layer


def layer_of(rng, tokens=200, **options):
    """A float64 layer with more tokens than unknowns."""
    return random_layer(rng, **{"tokens": tokens, "dtype": torch.float64, **options})


def noise(rng, layer):
    return torch.from_numpy(rng.normal(size=layer.x.shape)).to(layer.x.dtype)


def stream_of(layer, error, fitted=None, batch=64):
    """Passes over the layer in micro-batches."""
    fitted = torch.ones(len(layer.x), dtype=torch.bool) if fitted is None else fitted

    def stream():
        for start in range(0, len(layer.x), batch):
            part = torch.arange(start, min(start + batch, len(layer.x)))
            yield RefitTokens(layer.x[part], layer.routing.take(part), error[part], fitted[part])

    return stream


def steps_of(layer, error, fitted=None, batch=64):
    """Passes over the fitted tokens in other orders, a batch a step, in uneven pieces."""
    places = torch.arange(len(layer.x)) if fitted is None else fitted.nonzero()[:, 0]
    count = max(1, len(places) // batch)

    def tokens(number):
        order = torch.from_numpy(np.random.default_rng(number).permutation(len(places)))
        for part in places[order].tensor_split(count):
            yield [
                RefitTokens(layer.x[at], layer.routing.take(at), error[at], torch.ones(len(at), dtype=torch.bool))
                for at in part.split(13)
                if len(at)
            ]

    return Steps(count, tokens)


def design(layer):
    """f_j(x) of all tokens and experts in loops, [T, K·D]: 0 where x is not routed to j."""
    given = layer.reference_inputs()
    count, width = given["gate"].shape[:2]
    matrix = np.zeros((len(given["x"]), count, width))
    for t, x in enumerate(given["x"]):
        for j, weight in zip(given["indices"][t], given["weights"][t], strict=True):
            matrix[t, j] = weight * np.array(reference.hidden(x, given["gate"][j], given["up"][j]))
    return matrix.reshape(len(matrix), -1)


def looped(layer, stack, which, unit=reference.hidden):
    """Weighted outputs of some experts added up, [T, H], token by token."""
    given, weights = layer.reference_inputs(), {name: tensor.double().numpy() for name, tensor in parts(stack)}
    total = np.zeros(given["x"].shape)
    for t, x in enumerate(given["x"]):
        for j, weight in zip(given["indices"][t], given["weights"][t], strict=True):
            if j in which:
                total[t] += weight * (weights["down"][j] @ np.array(unit(x, weights["gate"][j], weights["up"][j])))
    return total
