"""For all tests: no network, two threads, fixed seeds, and the core's shape annotations checked on every call."""

import os
import sys

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"
assert not {"ream.core", "huggingface_hub"} & sys.modules.keys(), "both must be imported after the lines here"
install_import_hook("ream.core", "beartype.beartype")
torch.set_num_threads(2)


@pytest.fixture(autouse=True)
def _seeds():
    """Global random state, for what offers no seed of its own (weights of tiny random models)."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def rng():
    """A generator of the test's own."""
    return np.random.default_rng(0)
