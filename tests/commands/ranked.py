"""What the tests of ranks share: commands, what became of them, and what they leave."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from ream.recipe.recipe_file import load_recipe

ROUNDING = 1e-12  # of float64 sums of a few hundred terms, relative to the largest


class Runs:
    """Runs `ream ...` as several ranks; a single rank is the usual command, without torch.distributed."""

    def __init__(self, ask, model, params):
        self.ask, self.model, self.params = ask, model, params

    def __call__(self, folder, *arguments, ranks=2, at=None, after=None, own=None):
        """Arguments of single ranks may differ: ``own`` maps a rank to its arguments."""
        folder.mkdir(parents=True, exist_ok=True)
        each = [[*map(str, (own or {}).get(rank, arguments))] for rank in range(ranks)]
        return SimpleNamespace(**self.ask(arguments=each, folder=str(folder), at=at or {}, after=after))

    def compress(self, method="hc-smoe", *more):
        words = ["compress", self.model, "out", "--experts", "4", "--method", method, "--set", "compute.threads=1"]
        return [*words, "--params", self.params, *more]

    def stage(self, name="statistics", *options):
        return ["stage", name, *(options or ("--source", "a")), "--params", self.params]


def errors(answer):
    return [re.findall(r"^error: (.*)$", text, re.MULTILINE) for text in answer.said]


def refused(answer, *words):
    """All ranks have ended with code 2, and only the first has said why, in one line."""
    assert answer.codes == [2] * len(answer.codes), answer.said
    told = errors(answer)
    assert [len(lines) for lines in told] == [1] + [0] * (len(told) - 1)
    assert not any("Traceback" in text for text in answer.said)
    for word in words:
        assert word in told[0][0]


def same_recipe(found, expected, corrections=1e-5, rounding=ROUNDING):
    """The recipes are equal up to the rounding of float64 sums, corrections up to a fraction of the largest."""
    found, expected = load_recipe(found), load_recipe(expected)
    assert {**found.facts, "refit": None} == {**expected.facts, "refit": None}
    for index, refit in expected.facts.get("refit", {}).items():
        assert found.facts["refit"][index].keys() == refit.keys()
        for name, value in refit.items():
            near = value if isinstance(value, str) else pytest.approx(value, abs=2e-4)
            assert found.facts["refit"][index][name] == near, (index, name)
    assert found.layers.keys() == expected.layers.keys()
    for index, layer in expected.layers.items():
        assert np.array_equal(found.layers[index].groups.kept, layer.groups.kept)
        assert np.array_equal(found.layers[index].groups.group, layer.groups.group)
        np.testing.assert_allclose(found.layers[index].weights, layer.weights, rtol=rounding)
        np.testing.assert_allclose(found.layers[index].saliency, layer.saliency, rtol=rounding)
        assert found.layers[index].permutations.keys() == layer.permutations.keys()
        for expert, order in layer.permutations.items():
            assert np.array_equal(found.layers[index].permutations[expert], order)
        assert found.layers[index].neurons.keys() == layer.neurons.keys()
        for position, neurons in layer.neurons.items():
            assert np.array_equal(found.layers[index].neurons[position], neurons)
        assert found.layers[index].corrections.keys() == layer.corrections.keys()
        for position, parts in layer.corrections.items():
            for part, tensor in parts.items():
                difference = (found.layers[index].corrections[position][part] - tensor).abs().max()
                assert difference <= corrections * tensor.abs().max(), (index, position, part)


def walked(answer):
    """The operations by which ranks have committed layers."""
    found = re.compile("rename .*-rank-.*(layer|progress)")
    return [line for operations in answer.operations for line in operations if found.search(line)]


def standing(folder):
    """The next layers of every rank's states."""
    found = {}
    for path in (folder / ".out.ream" / ".state").glob("*-rank-*/progress.json"):
        rank = int(path.parent.name.rpartition("-")[2])
        found.setdefault(rank, []).append(json.loads(path.read_text())["next_layer"])
    return found
