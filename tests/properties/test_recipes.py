"""Mutated recipes, applied: what is accepted is written, and the output is whole."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ream.recipe.output import check_recipe, write_checkpoint
from ream.recipe.recipe_file import load_recipe, save_recipe
from ream.recipe.verify import verify
from tests.compress.walks import corrected, opened, random_recipe
from tests.models.storage.strangers import shard
from tests.properties.mutations import cases, json_texts, run, spliced

KEPT = 3


def tree(folder):
    """Every file below a folder, with its size and time of change."""
    return {
        path: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "r"
    }


@pytest.fixture
def applied(checkpoint, tmp_path):
    """A function that does what `ream apply` does with the recipe at a path, and checks what is written."""
    original, out = opened(checkpoint), tmp_path / "out"
    digest = original[0].digest()

    def check(path):
        shutil.rmtree(out, ignore_errors=True)
        before = tree(tmp_path)
        try:
            recipe = load_recipe(path)
            check_recipe(recipe, digest, "the model")
            write_checkpoint(*original, recipe, out)
            verify(out)
        finally:
            assert {name: seen for name, seen in tree(tmp_path).items() if out not in name.parents} == before
        kept = {len(layer.groups.kept) for layer in recipe.layers.values()}
        assert json.loads((out / "config.json").read_text())["num_experts"] == min(kept) == max(kept)

    return check


@pytest.fixture
def recipe_path(checkpoint, tmp_path):
    read, architecture = opened(checkpoint)
    recipe = random_recipe(architecture, KEPT, digest=read.digest())
    save_recipe(tmp_path / "r", corrected(recipe, architecture, every=3))
    return tmp_path / "r"


@cases(120)
def test_headers_and_facts(cases, recipe_path, applied):
    whole = recipe_path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["ream"])

    def check(case):
        which, text = case
        if which == "facts":
            text = json.dumps(header | {"__metadata__": {"ream": text}})
        recipe_path.write_bytes(shard(text, whole[8 + length :]))
        applied(recipe_path)

    drawn = st.one_of(st.tuples(st.just("facts"), json_texts(facts)), st.tuples(st.just("header"), json_texts(header)))
    outcomes = run(check, drawn, cases)
    assert min(outcomes.lines, outcomes.results) > cases / 40


@cases(60)
def test_bytes(cases, recipe_path, applied):
    whole = recipe_path.read_bytes()

    def check(data):
        recipe_path.write_bytes(data)
        applied(recipe_path)

    assert run(check, spliced(whole), cases).lines > cases / 2


@cases(80)
def test_values_of_arrays(cases, recipe_path, applied):
    """One value, or a whole array, is another one; NaN and the largest numbers among them."""
    arrays = load_file(recipe_path)
    with safe_open(recipe_path, framework="numpy") as file:
        metadata = file.metadata()

    def check(case):
        name, place, value, whole = case
        changed = {other: array.copy() for other, array in arrays.items()}
        kind = changed[name].dtype
        value = value if kind.kind == "f" else np.int64(np.clip(value, -(2**15), 2**15 - 1))
        if changed[name].size:
            changed[name].flat[slice(None) if whole else place % changed[name].size] = value
        save_file(changed, recipe_path, metadata=metadata)
        applied(recipe_path)

    values = st.sampled_from([0, 1, 2, 3, 7, 8, -1, -2, 32767, 1e30, 0.5]) | st.integers(-3, 9)
    special = st.sampled_from([float("nan"), float("inf"), -float("inf")])
    floats = [name for name, array in arrays.items() if array.dtype.kind == "f"]
    drawn = st.one_of(
        st.tuples(st.sampled_from(sorted(arrays)), st.integers(0, 200), values, st.booleans()),
        st.tuples(st.sampled_from(sorted(floats)), st.integers(0, 200), special, st.booleans()),
    )
    outcomes = run(check, drawn, cases)
    assert min(outcomes.lines, outcomes.results) > cases / 40


@cases(60)
def test_the_list_of_an_outputs_files(cases, recipe_path, applied, tmp_path):
    """`ream verify` of an output whose ream.json somebody has changed."""
    applied(recipe_path)
    out = tmp_path / "out"
    value, before = json.loads((out / "ream.json").read_text()), tree(tmp_path)

    def check(text):
        (out / "ream.json").write_text(text, encoding="utf-8", errors="surrogatepass")
        verify(out)

    outcomes = run(check, json_texts(value), cases)
    assert outcomes.lines > 0
    assert tree(tmp_path).keys() == before.keys()
