"""Tiny checkpoints, built once; recipes made by lot."""

import pytest

from tests import tiny


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """float32, all layers with experts."""
    return tiny.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def mixed_depth(tmp_path_factory):
    """float32, the middle layer dense."""
    return tiny.build(tmp_path_factory.mktemp("models") / "dense-layer", dense=[1])


@pytest.fixture(scope="session")
def brain(tmp_path_factory):
    """bfloat16, under the key transformers 5 writes."""
    import torch

    return tiny.build(tmp_path_factory.mktemp("models") / "brain", torch.bfloat16, hub_key=False)
