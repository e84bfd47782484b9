"""Outputs as tools read them that take every *.safetensors file: vLLM and SGLang without an index, llm-compressor."""

import json
import re

import pytest
from safetensors.torch import load_file

from ream.models.storage.checkpoint import INDEX, SINGLE, Checkpoint
from ream.recipe.contents import RECIPE
from ream.recipe.output import write_checkpoint
from ream.recipe.recipe_file import load_recipe
from ream.recipe.verify import verify
from tests.compress.walks import loaded, logits, opened, random_recipe
from tests.models.damage import with_tensors
from tests.models.families import build
from tests.tiny import EXPERTS

KEPT = 4
SMALL, ALL_IN_ONE = 2e-5, 10  # GB: less than the tiny models have, and more


@pytest.fixture(scope="module")
def originals(checkpoint, tmp_path_factory):
    """The same model in shards and in one file, and another whose experts are stacked, in shards."""
    folder = tmp_path_factory.mktemp("served")
    return {
        "sharded": checkpoint,
        "single": with_tensors(checkpoint, folder / "single", lambda tensors: None),
        "stacked": build("gpt_oss", folder / "stacked"),
    }


def read_by_folder(folder):
    """Tensor name to tensor of all *.safetensors files in a folder and below; a name is in one file."""
    tensors = {}
    for path in folder.rglob("*.safetensors"):
        further = load_file(path)
        assert not further.keys() & tensors.keys()
        tensors |= further
    return tensors


def expected_names(original):
    """Names of the original's tensors without the experts that are removed."""
    numbers = {name: re.search(r"\.experts\.(\d+)\.", name) for name in read_by_folder(original)}
    return {name for name, number in numbers.items() if number is None or int(number[1]) < KEPT}


@pytest.mark.parametrize("shard_gb", [None, SMALL, ALL_IN_ONE])
@pytest.mark.parametrize("form", ["sharded", "single", "stacked"])
def test_every_form_of_output_has_each_tensor_once_and_no_recipe_among_them(form, shard_gb, originals, tmp_path):
    original, out = originals[form], tmp_path / "out"
    read, architecture = opened(original)
    recipe = random_recipe(architecture, KEPT, width=architecture.width)
    write_checkpoint(read, architecture, recipe, out, shard_gb=shard_gb)
    tensors, shards = read_by_folder(out), {path.name for path in out.glob("*.safetensors")}
    assert tensors.keys() == expected_names(original)
    parts = len(shards)
    if shard_gb is None:
        assert shards == {path.name for path in original.glob("*.safetensors")}
    else:
        assert (parts == 1) == (shard_gb == ALL_IN_ONE)
    assert (shards == {SINGLE}) == (parts == 1)
    assert (parts > 1) == (out / INDEX).exists()
    if parts > 1:
        index = json.loads((out / INDEX).read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
        assert index["weight_map"].keys() == tensors.keys()
        assert set(index["weight_map"].values()) == shards
    assert load_recipe(out / RECIPE).facts.items() >= recipe.facts.items()
    assert verify(out)["tensors"].startswith(f"{len(tensors)}, ")


def test_the_forms_are_one_model(originals, tmp_path):
    outs = []
    for number, (form, shard_gb) in enumerate([("sharded", None), ("sharded", ALL_IN_ONE), ("single", SMALL)]):
        read, architecture = opened(originals[form])
        outs.append(tmp_path / str(number))
        write_checkpoint(read, architecture, random_recipe(architecture, KEPT), outs[-1], shard_gb=shard_gb)
    expected = logits(loaded(outs[0]))
    assert all((logits(loaded(out)) == expected).all() for out in outs[1:])
    assert Checkpoint(outs[0]).parameters < Checkpoint(originals["sharded"]).parameters
    assert KEPT < EXPERTS
