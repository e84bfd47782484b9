"""Small random layers, as the core takes them (tensors) and as the reference does (float64 arrays)."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from ream.core.experts import Expert, ExpertStack
from ream.core.routing import Routing
from ream.core.statistics import LayerStatistics
from ream.core.sums import Sums
from tests.core import reference

FIELDS = (
    "tokens", "count", "norm_sum", "weighted_norm_sum", "released_norm_sum", "output_sum", "gated_output_sum",
    "logit_gram",
)  # fmt: skip


def silu_unit(gate, up):
    return torch.nn.functional.silu(gate) * up


def float64(tensor):
    return tensor.double().numpy()


@dataclass(frozen=True)
class Layer:
    """T tokens, N experts, what the router made of them."""

    x: torch.Tensor
    experts: ExpertStack
    routing: Routing

    def reference_inputs(self):
        """Arguments of `reference.statistics`."""
        return {
            "x": float64(self.x),
            "gate": float64(self.experts.gate),
            "up": float64(self.experts.up),
            "down": float64(self.experts.down),
            "logits": float64(self.routing.logits),
            "scores": float64(self.routing.scores),
            "indices": self.routing.indices.numpy(),
            "weights": float64(self.routing.weights),
        }

    def take(self, which):
        """The layer with some of the tokens."""
        return Layer(self.x[which], self.experts, self.routing.take(which))

    def with_experts(self, experts):
        return replace(self, experts=experts)

    def sums(self, mask=None):
        """The core's statistics, in one batch."""
        statistics = LayerStatistics(self.experts, silu_unit)
        statistics.update(self.x, self.routing, mask)
        return statistics.result()


def random_layer(
    rng, tokens=17, experts=6, hidden=8, width=5, top_k=2, *, dtype=torch.float32, never=(), **router_options
):
    """A layer of normal weights and inputs.

    Args:
        never: experts whose selection bias keeps every token away.
        dtype: of inputs, weights and logits.
        router_options: of `reference.route`.
    """

    def normal(*shape, scale=1.0):
        return torch.from_numpy(rng.normal(scale=scale, size=shape)).to(dtype)

    x = normal(tokens, hidden)
    gate_up, down = normal(experts, 2 * width, hidden, scale=0.5), normal(experts, hidden, width, scale=0.5)
    stack = ExpertStack(gate_up[:, :width], gate_up[:, width:], down)
    bias = [-10.0 if expert in never else 0.0 for expert in range(experts)]
    router = rng.normal(scale=0.5, size=(experts, hidden))
    logits, scores, indices, weights = reference.route(float64(x), router, top_k, bias=bias, **router_options)
    routing = Routing(
        logits=torch.tensor(logits, dtype=torch.float64).to(dtype),
        scores=torch.tensor(scores, dtype=torch.float32),
        indices=torch.tensor(indices),
        weights=torch.tensor(weights, dtype=torch.float64).to(dtype),
    )
    return Layer(x, stack, routing)


def random_expert(rng, hidden=4, width=5, dtype=torch.float32):
    def normal(*shape):
        return torch.from_numpy(rng.normal(size=shape)).to(dtype)

    return Expert(normal(width, hidden), normal(width, hidden), normal(hidden, width))


def plain(expert):
    """(gate, up, down) of an expert, for the reference."""
    return float64(expert.gate), float64(expert.up), float64(expert.down)


def sums_of(**given):
    """Sums with the given fields, and ones elsewhere; H = 2 where no output sums are given."""
    arrays = {name: np.asarray(value, dtype=np.float64) for name, value in given.items()}
    count = next(len(value) for value in arrays.values() if value.ndim)
    outputs = next((value.shape for name, value in arrays.items() if name.endswith("output_sum")), (count, 2))
    shapes = dict.fromkeys(FIELDS, (count,)) | {
        "tokens": (), "output_sum": outputs, "gated_output_sum": outputs, "logit_gram": (count, count),
    }  # fmt: skip
    return Sums(**{name: arrays.get(name, np.ones(shapes[name])) for name in FIELDS})


def reference_sums(sums):
    """Sums of the reference's table."""
    return Sums(**{name: np.asarray(sums[name], dtype=np.float64) for name in FIELDS})


def assert_same_sums(actual, expected, rtol=1e-5, atol=1e-5):
    """Every field agrees; differences are counted against the field's largest value."""
    for name in FIELDS:
        given, wanted = getattr(actual, name), np.asarray(getattr(expected, name))
        assert given.shape == wanted.shape, name
        np.testing.assert_allclose(
            given, wanted, rtol=rtol, atol=atol * max(1e-300, np.abs(wanted).max(initial=0.0)), err_msg=name
        )
