import json
from dataclasses import replace

import numpy as np
import pytest

from ream.analysis.html.layers import Layer, LayerView, Member, encoded, layer_view
from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe, Recipe


def recipe():
    """Layer 3: of 5 experts 1 and 4 stay, 0 joins 1, 2 joins 4, 3 is dropped. Layer 1: the first two stay."""
    three = LayerRecipe(
        Groups(np.array([1, 4]), np.array([0, 0, 1, -1, 1])),
        np.array([0.25, 0.75, 0.123456789, 0.0, 0.876543211]),
        np.array([1.0, 3.0, 0.5, 0.1, 4.5]),
    )
    one = LayerRecipe(
        Groups(np.array([0, 1]), np.array([0, 1, -1, -1, -1])), np.array([1.0, 1, 0, 0, 0]), np.arange(5, 0, -1.0)
    )
    return Recipe({3: three, 1: one}, {})


def unfolded(text):
    """The views, read from the JSON in nested loops: layer to (kept to {member: weight}, saliency, error)."""
    data = json.loads(text)
    lists = data["lists"]
    views = []
    for view in data["views"]:
        layers = {}
        for index, groups, weights, saliency, error, _ in view["layers"]:
            members = {}
            for expert, owner in enumerate(lists[groups]):
                if owner >= 0:
                    members.setdefault(owner, {})[expert] = lists[weights][expert]
            layers[index] = members, None if saliency < 0 else lists[saliency], error
        views.append(((view["mix"], view["method"], view["experts"]), view["link"], layers))
    return views


def test_a_recipe_becomes_groups_with_weights():
    view = layer_view(recipe(), "even", "ream", 2)
    assert [layer.index for layer in view.layers] == [1, 3]
    assert view.layers[1].groups == {
        1: (Member(0, 0.25), Member(1, 0.75)), 4: (Member(2, 0.123456789), Member(4, 0.876543211))
    }  # fmt: skip
    assert view.layers[1].saliency == (1.0, 3.0, 0.5, 0.1, 4.5)
    assert view.layers[0].groups == {0: (Member(0, 1.0),), 1: (Member(1, 1.0),)}
    assert [layer.error for layer in view.layers] == [None, None]


def test_given_saliencies_and_errors_replace_those_of_the_recipe():
    view = layer_view(recipe(), "even", "ream", 2, saliency={3: [5, 4, 3, 2, 1]}, errors={1: 0.5})
    assert [layer.saliency for layer in view.layers] == [None, (5.0, 4.0, 3.0, 2.0, 1.0)]
    assert [layer.error for layer in view.layers] == [0.5, None]


def test_json_holds_the_views_to_four_digits():
    views = [layer_view(recipe(), "even", "ream", 2, errors={1: 0.123456, 3: 12345.6}),
             layer_view(recipe(), "coding", "ream", 2, saliency={1: [1e-7] * 5})]  # fmt: skip
    (first, second) = unfolded(encoded(views, {("coding", "ream", 2): "recipes/a"}))
    assert first == (
        ("even", "ream", 2), None,
        {1: ({0: {0: 1}, 1: {1: 1}}, [5, 4, 3, 2, 1], 0.1235),
         3: ({1: {0: 0.25, 1: 0.75}, 4: {2: 0.1235, 4: 0.8765}}, [1, 3, 0.5, 0.1, 4.5], 12350)},
    )  # fmt: skip
    assert second[:2] == (("coding", "ream", 2), "recipes/a")
    assert [second[2][index][1] for index in (1, 3)] == [[1e-7] * 5, None]


def test_equal_lists_stand_once():
    once = json.loads(encoded([layer_view(recipe(), "even", "ream", 2)]))["lists"]
    twice = json.loads(encoded([layer_view(recipe(), mix, "ream", 2) for mix in ("even", "coding")]))["lists"]
    assert once == twice
    assert len({json.dumps(values) for values in once}) == len(once) == 6


def test_what_does_not_fit_is_refused():
    alone = {0: (Member(0, 1.0),)}
    with pytest.raises(ValueError, match="layer 7: 1 saliencies for 2 experts"):
        Layer(7, 2, alone, (1.0,))
    with pytest.raises(ValueError, match="each once at most"):
        Layer(7, 2, {0: (Member(0, 0.5), Member(0, 0.5))})
    with pytest.raises(ValueError, match="not of 2 experts"):
        Layer(7, 2, {2: (Member(2, 1.0),)})
    with pytest.raises(ValueError, match="a kept expert is not in its own group"):
        Layer(7, 2, {0: (Member(1, 1.0),)})
    for broken in ({"saliency": (1.0, float("nan"))}, {"error": float("inf")}):
        with pytest.raises(ValueError, match="not finite"):
            Layer(7, 2, alone, **broken)
    assert json.loads(encoded([LayerView("a", "b", 1, (Layer(7, 2, alone),))]))["lists"] == [[0, -1], [1, 0]]


def test_layers_say_how_many_of_their_experts_were_rarely_routed():
    made = recipe()
    layers = dict(made.layers) | {1: replace(made.layers[1], routed_tokens=np.array([99.0, 100, 4000, 0, 101]))}
    view = layer_view(Recipe(layers, {}), "even", "ream", 2)
    assert [layer.rarely_routed for layer in view.layers] == [0.4, None]
    data = json.loads(encoded([view]))
    assert data["few"] == 100
    assert [layer[5] for layer in data["views"][0]["layers"]] == [0.4, None]


def test_layers_say_what_a_sample_left_undecided():
    layers = {
        index: LayerRecipe(Groups(np.array([0]), np.array([0, 0])), np.ones(2) / 2, np.ones(2)) for index in (0, 3)
    }
    recipe = Recipe(layers, {"sample": {"3": {"error": 0.01234567, "undecided": [1]}}})
    view = layer_view(recipe, "balanced", "ream", 1)
    assert [(layer.sample_error, layer.undecided) for layer in view.layers] == [(None, ()), (0.01234567, (1,))]
    plain, sampled = json.loads(encoded([view]))["views"][0]["layers"]
    assert len(plain) == 6
    assert sampled[6:] == [0.01235, 1]
