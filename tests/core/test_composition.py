"""Compositions name parts that exist, and parameters become the composition that they spell."""

from dataclasses import fields
from typing import get_args

import pytest

from ream.core import alignment, composition, grouping, saliency, similarity
from ream.core.composition import Composition, RefitOptions
from ream.params import load_params
from tests.tiny import ROOT

LABELS = {  # saliency of a candidate of `best` to its label
    "ean": "ean",
    "energy": "assignment energy neurons",
    "frequency": "matching frequency neurons",
}
PARAMS = load_params(ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("kinds", "table"),
    [
        (composition.SaliencyKind, saliency.SALIENCIES),
        (composition.SimilarityKind, similarity.SIMILARITIES),
        (composition.GroupingKind, grouping.GROUPINGS),
        (composition.AlignmentTerm, alignment.TERMS),
    ],
)
def test_every_kind_has_its_function(kinds, table):
    assert set(get_args(kinds)) == set(table)


def test_a_composition_of_two_parts_has_no_others():
    expected = Composition("reap", "pruning", (), (), "mean", sequential=False, scores="router", centroid_counts=False)
    assert Composition("reap", "pruning") == expected
    assert Composition("reap", "pruning").refit is None


@pytest.mark.parametrize("name", PARAMS.methods)
def test_parameters_of_every_method_become_its_composition(name):
    method = PARAMS.methods[name]
    made = method.composition()
    for field in fields(Composition):
        if field.name == "candidates":
            assert [parts.label for parts in made.candidates] == [LABELS[parts.saliency] for parts in method.candidates]
        elif field.name != "refit":
            wanted = getattr(method, field.name)
            assert getattr(made, field.name) == (tuple(wanted) if isinstance(wanted, list) else wanted)
    if method.refit is None:
        assert made.refit is None
    else:
        told = dict(method.refit)
        told["ridge"] = None if told["ridge"] == "auto" else told["ridge"]
        assert {field.name: getattr(made.refit, field.name) for field in fields(RefitOptions)} == told


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("frequency", set()),
        ("ean", {"norms"}),
        ("reap-sequential", {"norms"}),
        ("m-smoe", {"logit-gram"}),
        ("man", {"norms"}),
        ("msan-sequential", {"norms", "squared-norms"}),
        ("ream-released", {"norms", "batch-norms", "logit-gram", "gated-output-means", "probes"}),
        ("hc-smoe", {"output-means", "probes"}),
        ("ream", {"norms", "logit-gram", "gated-output-means", "probes"}),
        ("ream-ungated", {"norms", "logit-gram", "output-means", "probes"}),
        ("neurons-refit", {"logit-gram"}),
        ("hope", {"norms", "pair-norms"}),
        ("reap-super-experts", {"norms", "peak-norms"}),
        ("best", {"norms", "pair-norms", "logit-gram"}),
    ],
)
def test_what_a_method_needs(name, needed):
    assert composition.needs(PARAMS.methods[name].composition()) == needed
    assert needed <= composition.ALL_QUANTITIES
