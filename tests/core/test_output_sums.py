"""Sums of outputs from sums of neuron activations."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ream.core.experts import ExpertStack
from ream.core.output_sums import output_sums


class Made(TorchDispatchMode):
    """Counts operations that give a float64 tensor of a shape in memory that none of their arguments has."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {value.untyped_storage().data_ptr() for value in args if isinstance(value, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.dtype == torch.float64 and result.shape == self.shape:
            self.count += result.untyped_storage().data_ptr() not in given
        return result


def experts_of(normal, bias):
    stacks = normal(5, 4, 6), normal(5, 4, 6), normal(5, 6, 4)
    return ExpertStack(*stacks, down_bias=normal(5, 6) if bias else None)


@pytest.fixture
def normal():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sums", [(2,), (2, 3)])
def test_sums_are_those_of_the_outputs(normal, bias, sums):
    experts, hidden, factors = experts_of(normal, bias), normal(5, 7, *sums, 4).double(), normal(5, 7, *sums).double()
    weighted = hidden * factors[..., None]
    found = output_sums(weighted.sum(1), factors.sum(1), experts)
    for index in range(5):
        outputs = hidden[index] @ experts.down[index].double().T
        if bias:
            outputs = outputs + experts.down_bias[index].double()
        expected = (outputs * factors[index][..., None]).sum(0)
        torch.testing.assert_close(found[..., index, :], expected, rtol=1e-12, atol=1e-12)


def test_all_down_projections_take_the_same_memory(normal):
    """New memory for each left the freed pieces behind small results: a layer's down projections in float64."""
    experts = experts_of(normal, bias=True)
    with Made((6, 4)) as made:
        output_sums(torch.ones(5, 2, 4, dtype=torch.float64), torch.ones(5, 2, dtype=torch.float64), experts)
    assert made.count == 1
