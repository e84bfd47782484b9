"""Padding behind sequences: nothing changes in causal layers, and a layer that lets it through is refused."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.compress.one_shot import collect
from ream.models.layers.loaded import LoadedLayer
from ream.walk.padding import check_padding
from tests.compress.walks import Quiet, decoder_of, pieces, sequences
from tests.models.any_moe import build
from tests.models.storage.test_checkpoint import refused

EQUAL = [list(range(3, 12)), list(range(13, 22)), list(range(33, 42))]


@pytest.fixture
def leaking(tmp_path):
    """A MiniMax-01 whose decay inside a block of tokens also reaches backwards."""
    folder = build("minimax", tmp_path / "x")
    path = folder / "model.safetensors"
    tensors = load_file(path)
    decays = [name for name in tensors if name.endswith("diagonal_decay")]
    assert decays
    save_file(tensors | {name: torch.ones_like(tensors[name]) for name in decays}, path, {"format": "pt"})
    return folder


def test_linear_attention_is_walked_with_padding(tmp_path):
    decoder = decoder_of(build("minimax", tmp_path / "x"))
    with pieces(tmp_path) as (data, probes, state):
        assert not data.mask.all()
        collect(decoder, data, probes, state, Quiet())
        assert state.next_layer == decoder.architecture.depth


def test_a_layer_that_lets_padding_through_is_refused_by_its_number(leaking, tmp_path):
    decoder = decoder_of(leaking)
    with pieces(tmp_path, texts=sequences()) as (data, probes, state):
        refused(lambda: collect(decoder, data, probes, state, Quiet()), "layer 1", "padding", "calibration.fill: 1")


def test_sequences_of_one_length_have_nothing_to_check(leaking, tmp_path):
    decoder = decoder_of(leaking)
    with pieces(tmp_path, texts=EQUAL) as (data, probes, state):
        assert data.mask.all()
        collect(decoder, data, probes, state, Quiet())
        assert state.next_layer == decoder.architecture.depth


class Layer(LoadedLayer):
    """A layer whose tokens see how many there are, by so much."""

    def __init__(self, leak):
        self.leak, self.index, self.seen = leak, 5, []

    def __call__(self, hidden):
        self.seen.append(tuple(hidden.shape))
        return hidden, hidden * (1 + self.leak * hidden.shape[1])


@pytest.mark.parametrize(("dtype", "small"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-3)])
def test_the_longest_padded_sequence_is_compared_as_closely_as_its_dtype_allows(dtype, small):
    entering = torch.randn(4, 8, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    mask = torch.tensor([[1] * 8, [1] * 3 + [0] * 5, [1] * 6 + [0] * 2, [0] * 8]).bool()
    layer = Layer(small)
    check_padding(layer, entering, mask)
    assert layer.seen == [(1, 8, 3), (1, 6, 3)]
    refused(lambda: check_padding(Layer(0.1), entering, mask), "layer 5", "one length")
