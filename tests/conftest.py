"""For all tests: no network, one thread a worker, seeds, interrupts, and shapes in the core checked on every call."""

import os
import signal
import sys

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"  # on tiny tensors, threads only wait for each other; child processes read this, too
os.environ["DVC_TEST"] = "1"  # otherwise DVC starts a process after each command that reports it
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # hundreds of child processes would each compile ream anew
sys.dont_write_bytecode = False
assert not {"ream.core", "huggingface_hub"} & sys.modules.keys(), "both must be imported after the lines here"
install_import_hook("ream.core", "beartype.beartype")
torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background by a script; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = (
    "tests/models/family/derived/test_any_moe.py", "tests/compress/test_families.py", "tests/commands/test_kills.py",
    "tests/commands/test_cli.py", "tests/properties/test_checkpoints.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Run the longest test files first, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(autouse=True)
def _seeds():
    """Seed the global random streams, for what takes no seed (weights of tiny random models)."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def rng():
    """A NumPy generator with a fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny Qwen3-MoE in float32 whose layers all have experts, built once."""
    from tests import tiny

    return tiny.build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def mixed_depth(tmp_path_factory):
    """A tiny Qwen3-MoE in float32 whose middle layer is dense."""
    from tests import tiny

    return tiny.build(tmp_path_factory.mktemp("models") / "dense-layer", dense=[1])


@pytest.fixture(scope="session")
def brain(tmp_path_factory):
    """A tiny Qwen3-MoE in bfloat16, whose config has the key that transformers 5 writes."""
    from tests import tiny

    return tiny.build(tmp_path_factory.mktemp("models") / "brain", torch.bfloat16, hub_key=False)


@pytest.fixture
def hub(checkpoint, tmp_path, monkeypatch):
    """A hub on this machine that serves the tiny checkpoint, with an empty cache."""
    from tests.models.storage.fake_hub import serving

    with serving(checkpoint, tmp_path / "hub-cache", monkeypatch) as served:
        yield served
