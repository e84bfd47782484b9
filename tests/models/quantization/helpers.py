"""Helpers of the tests of all formats."""

import torch

from ream.models.storage.shard_writing import tensor_bytes
from tests.models.storage.test_checkpoint import refused as refused


def same_bytes(actual, expected):
    """Assert that both hold the same suffixes, dtypes, shapes and bytes."""
    assert set(actual) == set(expected)
    for suffix, tensor in expected.items():
        assert actual[suffix].dtype == tensor.dtype
        assert actual[suffix].shape == tensor.shape
        assert tensor_bytes(actual[suffix]) == tensor_bytes(tensor), suffix


def random(*shape, seed=0):
    """Random values whose magnitude differs from row to row, so that blocks have different scales."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    return weight * torch.exp(2 * torch.randn((*shape[:-1], 1), generator=generator))
