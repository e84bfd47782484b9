"""Files that stages share: what is written is what is read."""

import json
import os
import subprocess
import sys

import numpy as np

from ream.core.grouping import Groups
from ream.core.recipe import LayerRecipe
from ream.core.saliency import SALIENCIES
from ream.core.sums import Sums
from ream.workspace.groupings import read_grouping, write_grouping
from ream.workspace.mixed_statistics import SourceDigests, read_mixed, read_routed, read_sources, write_mixed
from tests.core.layers import FIELDS


def test_a_grouping_is_read_as_it_was_written(tmp_path):
    """Experts 1 and 3 stay; 0 is absorbed by 3 (position 1), 2 is pruned."""
    groups = Groups(np.array([1, 3]), np.array([1, 0, -1, 1]))
    routed = np.array([7.0, 900.0, 0.0, 12.0])
    layer = LayerRecipe(
        groups, np.array([0.25, 1.0, 0.0, 0.75]), np.array([0.1, 0.7, 0.0, 1 / 3]), routed_tokens=routed
    )
    write_grouping(tmp_path / "2.json", {4: layer}, {"method": "reap"})
    layers, facts = read_grouping(tmp_path / "2.json")
    assert facts == {"method": "reap"}
    assert list(layers) == [4]
    assert np.array_equal(layers[4].groups.kept, groups.kept)
    assert np.array_equal(layers[4].groups.group, groups.group)
    assert np.array_equal(layers[4].weights, layer.weights)
    assert np.array_equal(layers[4].saliency, layer.saliency)
    assert np.array_equal(layers[4].routed_tokens, routed)
    assert len(layers[4].permutations) == 0
    stored = json.loads((tmp_path / "2.json").read_text())
    assert stored["layers"]["4"]["group"] == [1, 0, -1, 1]


def test_the_statistics_of_a_mix_are_read_as_they_were_written(tmp_path, rng):
    shapes = {"tokens": (), "output_sum": (4, 3), "gated_output_sum": (4, 3), "logit_gram": (4, 4)}
    layers = {
        index: Sums(**{name: np.asarray(1 + rng.random(shapes.get(name, 4))) for name in (*FIELDS, *measured)})
        for index, measured in ((0, ()), (2, ("squared_norm_sum", "batch_mean_sum")))
    }
    sources = {"a": SourceDigests("0a", {0: "00", 2: "02"}), "b": SourceDigests("0b", {0: "10", 2: "12"})}
    routed = {0: np.arange(4.0), 2: np.arange(4.0, 8.0)}
    write_mixed(tmp_path / "even.safetensors", "even", layers, sources, routed)
    assert read_sources(tmp_path / "even.safetensors") == sources
    for index, sums in layers.items():
        stored, saliencies = read_mixed(tmp_path / "even.safetensors", index)
        for name, array in sums.arrays().items():
            assert stored.arrays()[name].shape == array.shape
            assert np.array_equal(stored.arrays()[name], array), name
        assert np.array_equal(read_routed(tmp_path / "even.safetensors", index), routed[index])
        assert set(saliencies) == set(SALIENCIES) - {"energy", *(("msan", "released-batches") if index == 0 else ())}
        for kind, saliency in saliencies.items():
            assert np.array_equal(saliency, SALIENCIES[kind](sums)), kind


def test_the_same_statistics_give_the_same_bytes(tmp_path, rng):
    """What depends on the file must not run again because the same mix was written by another process."""
    shapes = {"tokens": (), "output_sum": (4, 3), "gated_output_sum": (4, 3), "logit_gram": (4, 4)}
    sums = Sums(**{name: np.asarray(1 + rng.random(shapes.get(name, 4))) for name in FIELDS})
    np.savez(tmp_path / "sums.npz", **sums.arrays())
    script = (
        "import sys; import numpy as np; from pathlib import Path; from ream.core.sums import Sums; "
        "from ream.workspace.mixed_statistics import SourceDigests, write_mixed; "
        "sums = Sums(**np.load(sys.argv[1])); sources = {name: SourceDigests(name, {0: name}) for name in 'abc'}; "
        "write_mixed(Path(sys.argv[2]), 'even', {0: sums}, sources, {0: sums.count})"
    )
    for number in range(3):
        command = [sys.executable, "-c", script, tmp_path / "sums.npz", tmp_path / f"{number}"]
        subprocess.run(command, env=os.environ | {"PYTHONHASHSEED": f"{number + 1}"}, check=True)
    assert len({(tmp_path / f"{number}").read_bytes() for number in range(3)}) == 1
