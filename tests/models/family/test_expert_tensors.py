"""Fields of experts from the tensors of every layout, and back."""

import pytest
import torch

from ream.core.experts import Expert, parts
from ream.models.family.expert_tensors import pack, unpack, unpacked
from ream.models.family.layout import INTERLEAVED, NUMBERED, PER_EXPERT, STACKED, TRANSPOSED

LAYOUTS = [PER_EXPERT, NUMBERED, STACKED, TRANSPOSED, INTERLEAVED]
HIDDEN, WIDTH = 3, 2


def expert_of(layout):
    """An expert whose values are all different, with biases where the layout has them."""
    values = iter(torch.arange(100.0).split([6, 6, 6, 2, 2, 3, 75]))
    weights = {"gate": (WIDTH, HIDDEN), "up": (WIDTH, HIDDEN), "down": (HIDDEN, WIDTH)}
    biases = {"gate_bias": (WIDTH,), "up_bias": (WIDTH,), "down_bias": (HIDDEN,)} if layout is INTERLEAVED else {}
    return Expert(**{name: next(values).reshape(shape) for name, shape in (weights | biases).items()})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_and_back(layout):
    expert = expert_of(layout)
    tensors = {kind.name: pack(kind, expert) for kind in layout}
    assert {kind.name: tuple(tensors[kind.name].shape) for kind in layout} == {
        kind.name: kind.shape(HIDDEN, WIDTH) for kind in layout
    }
    again = unpacked(layout, tensors)
    assert again.keys() == dict(parts(expert)).keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in parts(expert))
    stacked = unpacked(layout, {name: torch.stack([tensor, -tensor]) for name, tensor in tensors.items()})
    assert all(torch.equal(stacked[name], torch.stack([tensor, -tensor])) for name, tensor in parts(expert))


def test_rows_by_hand():
    expert = expert_of(INTERLEAVED)  # gate 0 to 5, up 6 to 11, down 12 to 17, biases 18, 19; 20, 21; 22 to 24
    gate_up, bias, down, down_bias = (pack(kind, expert).tolist() for kind in INTERLEAVED)
    assert gate_up == [[0, 6, 3, 9], [1, 7, 4, 10], [2, 8, 5, 11]]
    assert bias == [18, 20, 19, 21]
    assert down == [[12, 14, 16], [13, 15, 17]]
    assert down_bias == [22, 23, 24]
    assert pack(STACKED[0], expert_of(STACKED)).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert pack(TRANSPOSED[0], expert_of(TRANSPOSED)).tolist() == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


def test_fields_are_views():
    tensor = torch.zeros(HIDDEN, 2 * WIDTH)
    unpack(INTERLEAVED[0], tensor)["up"][1, 2] = 1
    assert tensor[2, 3] == 1
    assert tensor.sum() == 1
