"""What the tests of all formats share."""

import torch

from ream.models.storage.shard_writing import tensor_bytes
from tests.models.storage.test_checkpoint import refused as refused


def same_bytes(found, expected):
    assert set(found) == set(expected)
    for suffix, tensor in expected.items():
        assert found[suffix].dtype == tensor.dtype
        assert found[suffix].shape == tensor.shape
        assert tensor_bytes(found[suffix]) == tensor_bytes(tensor), suffix


def random(*shape, seed=0):
    """Values whose size differs from row to row, so that blocks have scales of their own."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    return weight * torch.exp(2 * torch.randn((*shape[:-1], 1), generator=generator))
