"""Layouts on disk, from destinations and shapes alone: H = 6 and D = 4."""

import pytest

from ream.models.family.derived.conversion import Destination
from ream.models.family.derived.layouts import disk_layout
from ream.models.family.derived.refusal import NotDerivableError
from ream.models.family.layout import INTERLEAVED, STACKED, ExpertTensor

H, D, N = 6, 4, 8
GATE_UP, DOWN = "experts.gate_up_proj", "experts.down_proj"
MERGED = ("MergeModulelist", "Concatenate along 1")


def layout(places, shapes, module=STACKED, hidden=H, width=D):
    return disk_layout(places, shapes, module, hidden, width)


def test_one_tensor_for_each_expert_and_projection():
    places = {
        "x.experts.0.w1.weight": Destination(GATE_UP, 0, 2, MERGED),
        "x.experts.0.w3.weight": Destination(GATE_UP, 1, 2, MERGED),
        "x.experts.0.w2.weight": Destination(DOWN, operations=MERGED[:1]),
    }
    shapes = {"x.experts.0.w1.weight": (D, H), "x.experts.0.w3.weight": (D, H), "x.experts.0.w2.weight": (H, D)}
    assert layout(places, shapes) == (
        ExpertTensor("x.experts.{expert}.w1.weight", "gate"),
        ExpertTensor("x.experts.{expert}.w3.weight", "up"),
        ExpertTensor("x.experts.{expert}.w2.weight", "down"),
    )


def test_gate_and_up_apart_in_stacks():
    places = {
        "moe.gate_proj.weight": Destination(GATE_UP, 0, 2, ("Concatenate along 1",)),
        "moe.up_proj.weight": Destination(GATE_UP, 1, 2, ("Concatenate along 1",)),
        "moe.down_proj.weight": Destination(DOWN),
    }
    shapes = {"moe.gate_proj.weight": (N, D, H), "moe.up_proj.weight": (N, D, H), "moe.down_proj.weight": (N, H, D)}
    parts = {kind.name: (kind.part, kind.stacked, kind.transposed) for kind in layout(places, shapes)}
    assert parts == {
        "moe.gate_proj.weight": ("gate", True, False),
        "moe.up_proj.weight": ("up", True, False),
        "moe.down_proj.weight": ("down", True, False),
    }


def test_the_shape_decides_what_is_transposed():
    places = {"fc1": Destination(GATE_UP, operations=("Transpose",)), "fc2": Destination(DOWN)}
    kinds = layout(places, {"fc1": (N, H, 2 * D), "fc2": (N, D, H)})
    assert [(kind.part, kind.transposed) for kind in kinds] == [("gate_up", True), ("down", True)]


def test_a_square_is_as_the_conversion_says():
    places = {"fc1": Destination(GATE_UP, operations=("Transpose",)), "fc2": Destination(DOWN)}
    kinds = layout(places, {"fc1": (N, 8, 8), "fc2": (N, 8, 4)}, hidden=8, width=4)
    assert [kind.transposed for kind in kinds] == [True, False]


def test_alternating_rows_are_the_modules_unless_they_are_turned_on_loading():
    names = {kind.name: kind for kind in INTERLEAVED}
    places = {name: Destination(name) for name in names}
    shapes = {name: (N, *kind.shape(H, D)) for name, kind in names.items()}
    assert set(layout(places, shapes, INTERLEAVED)) == set(INTERLEAVED)
    turned = {GATE_UP: Destination(GATE_UP, operations=("Interleave",)), DOWN: Destination(DOWN)}
    kinds = layout(turned, {GATE_UP: (N, 2 * D, H), DOWN: (N, H, D)})
    assert [(kind.part, kind.interleaved) for kind in kinds] == [("gate_up", True), ("down", False)]


@pytest.mark.parametrize(
    ("places", "shapes", "words"),
    [
        ({DOWN: Destination(DOWN)}, {DOWN: (N, H, D)}, "the tensors of its experts on disk are experts.down_proj"),
        ({DOWN: Destination(DOWN)}, {DOWN: (N, H, D + 1)}, "experts.down_proj has shape"),
        (
            {"a": Destination(DOWN, 0, 2, ("Concatenate along 1",))},
            {"a": (N, H, D)},
            "in a way that ream does not know",
        ),
        ({"a": Destination(DOWN, operations=MERGED[:1])}, {"a": (H, D)}, "has no number in its name"),
    ],
)
def test_what_cannot_be_a_layout_is_refused(places, shapes, words):
    with pytest.raises(NotDerivableError, match=words):
        layout(places, shapes)
