"""Whole compressions on a device apart from the host against the same on the CPU.

The device is a GPU where tests of one are asked for (`-m gpu`), and in the default run a stand-in that refuses what a
GPU refuses, and makes copies as late as it may (tests/second_device.py).
"""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
import yaml

from ream.calibration.packing import pad
from ream.commands.compress import compress_model
from ream.commands.request import Request
from ream.compress.compare import compare
from ream.compress.one_shot import collect
from ream.models import runtime
from ream.models.decoder import Decoder
from ream.recipe.contents import RECIPE
from ream.recipe.recipe_file import load_recipe
from ream.walk.batches import batches
from tests import tiny
from tests.compress.walks import Quiet, decoder_of, opened, pieces, random_recipe, sequences
from tests.second_device import device as stand_in
from tests.second_device import on_device

HOST = torch.device("cpu")
GPU = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(params=["stand-in", GPU])
def device(request, monkeypatch):
    """A device apart, and a function that calls another and counts how often the host waits for the device then."""
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("torch sees no GPU")
        yield torch.device("cuda"), counted_by_cuda
        return
    with on_device(monkeypatch) as running:

        def counted(work):
            before = len(running.waits)
            work()
            return len(running.waits) - before

        yield stand_in(), counted
        assert running.operations > 1000  # the work was done there


def counted_by_cuda(work):
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught)


def compressed(checkpoint, folder, method, place, monkeypatch):
    """The recipe of `ream compress` that computes at that place, in float32."""
    params = tiny.write_params(folder / "p", sequences=6, batch_tokens=48, probes=60)
    tree = yaml.safe_load(params.read_text())
    tree["methods"]["neurons-fit"]["refit"]["iterations"] = 2
    params.write_text(yaml.safe_dump(tree))
    request = Request(
        model=str(checkpoint), out=folder / "out", experts=4, method=method, mix="a=0.5,b=0.5",
        group_size=3, settings=("compute.threads=1", "compute.dtype=float32"),
    )  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(runtime, "device_of", lambda name: place)
        compress_model(request, params, lambda line: None, lambda line: None)
    return load_recipe(folder / "out" / RECIPE)


@pytest.mark.parametrize(
    "method", ["ream", *(pytest.param(name, marks=pytest.mark.slow) for name in ("hc-smoe", "neurons-fit"))]
)
def test_a_compression_there_is_the_one_here(device, checkpoint, tmp_path, monkeypatch, method):
    here = compressed(checkpoint, tmp_path / "here", method, HOST, monkeypatch)
    there = compressed(checkpoint, tmp_path / "there", method, device[0], monkeypatch)
    for index, layer in here.layers.items():
        found = there.layers[index]
        assert np.array_equal(found.groups.group, layer.groups.group)
        np.testing.assert_allclose(found.weights, layer.weights, rtol=1e-4)
        assert found.permutations.keys() == layer.permutations.keys()
        assert found.neurons.keys() == layer.neurons.keys()
        for kind in ("permutations", "neurons"):
            other = getattr(found, kind)
            assert all(np.array_equal(other[place], own) for place, own in getattr(layer, kind).items())
        assert found.corrections.keys() == layer.corrections.keys()
        for position, projections in layer.corrections.items():
            for name, tensor in projections.items():
                torch.testing.assert_close(found.corrections[position][name], tensor, rtol=1e-3, atol=1e-3)
    assert bool(here.layers[0].corrections) == (method == "neurons-fit")


@pytest.mark.slow
def test_statistics_make_the_host_wait_twice_a_micro_batch_at_most(device, checkpoint, tmp_path):
    """For the sorted pairs of tokens and experts, and where transformers looks whether sequences are packed."""
    place, counted = device
    waits = {}
    for tokens in (10_000, 1):  # all sequences at once; each by itself
        with pieces(tmp_path / str(tokens), batch_tokens=tokens) as (data, probes, state):
            decoder = Decoder(*opened(checkpoint), place, torch.float32)
            waits[len(data)] = counted(partial(collect, decoder, data, probes, state, Quiet()))
    (one, few), (many, all_of_them) = sorted(waits.items())
    assert (one, many) == (1, 7)
    assert all_of_them - few <= 2 * 3 * (many - one)  # layers
    assert all_of_them > few


@pytest.mark.slow
def test_models_side_by_side_there_are_as_far_from_the_original_as_here(device, checkpoint, tmp_path):
    recipes = {"some": random_recipe(opened(checkpoint)[1], 4)}
    data = batches(*pad(sequences(), pad_id=0), 30)
    found = [
        compare(decoder, data, recipes, lambda row, states: None, 1e9, tmp_path, Quiet())
        for decoder in (decoder_of(checkpoint), Decoder(*opened(checkpoint), device[0], torch.float32))
    ]
    for here, there in zip(*(each["some"] for each in found), strict=True):
        assert there.stream == pytest.approx(here.stream, rel=1e-5)
        assert there.block == pytest.approx(here.block, rel=1e-5)
