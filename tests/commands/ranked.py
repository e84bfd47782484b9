"""What the tests of ranks share: commands, what became of them, and what they leave."""

import json
import re
from types import SimpleNamespace

import numpy as np

from ream.recipe.recipe_file import load_recipe

ROUNDING = 1e-12  # of float64 sums of a few hundred terms, relative to the largest


class Runs:
    """Runs `ream ...` as ranks; of one rank it is the usual command, without torch.distributed."""

    def __init__(self, ask, model, params):
        self.ask, self.model, self.params = ask, model, params

    def __call__(self, folder, *arguments, ranks=2, at=None, after=None, own=None):
        """``own``: of single ranks, arguments in place of the others'."""
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
    """All have ended with code 2, and the first alone has said why, in one line."""
    assert answer.codes == [2] * len(answer.codes), answer.said
    told = errors(answer)
    assert [len(lines) for lines in told] == [1] + [0] * (len(told) - 1)
    assert not any("Traceback" in text for text in answer.said)
    for word in words:
        assert word in told[0][0]


def same_recipe(found, expected):
    """Equal but for the rounding of float64 sums."""
    found, expected = load_recipe(found), load_recipe(expected)
    assert found.facts == expected.facts
    assert found.layers.keys() == expected.layers.keys()
    for index, layer in expected.layers.items():
        assert np.array_equal(found.layers[index].groups.kept, layer.groups.kept)
        assert np.array_equal(found.layers[index].groups.group, layer.groups.group)
        np.testing.assert_allclose(found.layers[index].weights, layer.weights, rtol=ROUNDING)
        np.testing.assert_allclose(found.layers[index].saliency, layer.saliency, rtol=ROUNDING)
        assert found.layers[index].permutations.keys() == layer.permutations.keys()
        for expert, order in layer.permutations.items():
            assert np.array_equal(found.layers[index].permutations[expert], order)


def walked(answer):
    """What ranks have committed of layers."""
    found = re.compile("rename .*-rank-.*(layer|progress)")
    return [line for operations in answer.operations for line in operations if found.search(line)]


def standing(folder):
    """The layer at which each rank's states stand."""
    found = {}
    for path in (folder / ".out.ream" / ".state").glob("*-rank-*/progress.json"):
        rank = int(path.parent.name.rpartition("-")[2])
        found.setdefault(rank, []).append(json.loads(path.read_text())["next_layer"])
    return found
