"""Shards of a hub model are let go as soon as nothing needs them, and what is written is the same."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ream.models.family.architecture import architecture_of
from ream.models.inspection.manifest import source_of
from ream.models.storage.checkpoint import INDEX, Checkpoint
from ream.models.storage.shard_writing import OutputTensor
from ream.recipe.shards import releasing
from ream.walk.release import release
from tests import tiny
from tests.commands.test_cli import compress, ream  # noqa: F401 - a fixture
from tests.compress.walks import random_recipe
from tests.models.families import build
from tests.models.storage.fake_hub import NAME, serving

LAYERS = 6


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """Layers across two shards each."""
    return tiny.build(tmp_path_factory.mktemp("release") / "deep", layers=LAYERS, shard="15KB")


@pytest.fixture
def served(deep, tmp_path, monkeypatch):
    with serving(deep, tmp_path / "hub-cache", monkeypatch) as hub:
        yield hub


class Recorder:
    """A source that writes down what is dropped."""

    def __init__(self, source):
        self.source, self.dropped = source, []

    def drop(self, shard):
        self.dropped.append(shard)

    def __getattr__(self, name):
        return getattr(self.source, name)


def spans(checkpoint):
    """Shards of each layer's tensors, by their names alone."""
    found = {}
    for name, info in checkpoint.tensors.items():
        if name.startswith("model.layers."):
            found.setdefault(int(name.split(".")[2]), set()).add(info.shard)
    return found


def test_a_shard_is_released_when_no_layer_to_come_has_a_tensor_in_it(deep):
    checkpoint = Checkpoint(Recorder(Checkpoint(deep).source))
    architecture, layers = architecture_of(checkpoint), spans(checkpoint)
    assert any(len(shards) > 1 for shards in layers.values())
    for layer in range(LAYERS + 1):
        checkpoint.source.dropped.clear()
        release(checkpoint, architecture, layer)
        needed = set().union(*(layers[index] for index in range(layer, LAYERS)))
        assert set(checkpoint.source.dropped) == set(checkpoint.shards) - needed


@pytest.mark.parametrize("family", ["qwen3_next", "deepseek_v3"])
def test_what_multi_token_layers_read_beside_their_own_tensors_stays(family, tmp_path):
    """Their input is made with the embedding table and, of the first, the norm before the head."""
    folder = build(family, tmp_path / "model")
    tensors = {
        name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()
    }
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    shards = {name: f"model-{number:05d}.safetensors" for number, name in enumerate(tensors)}
    for name, shard in shards.items():
        save_file({name: tensors[name]}, folder / shard)
    (folder / INDEX).write_text(json.dumps({"weight_map": shards}))
    checkpoint = Checkpoint(Recorder(Checkpoint(folder).source))
    architecture = architecture_of(checkpoint)
    assert architecture.depth == architecture.layers + 1
    family_names = {architecture.family.embedding, architecture.family.final_norm}
    extra = architecture.family.multi_token
    own_names = {architecture.multi_token_name(architecture.layers, name) for name in extra.own}
    inside = architecture.layer_prefix(architecture.layers)
    release(checkpoint, architecture, architecture.layers)
    kept = {name for name in tensors if shards[name] not in checkpoint.source.dropped}
    assert kept == {name for name in tensors if name.startswith(inside)} | own_names | family_names


def test_a_shard_is_dropped_after_the_last_tensor_that_reads_it():
    events = []

    def tensor(name, *reads):
        def make():
            events.append(name)
            yield b"12"
            events.append(f"{name} made")

        return OutputTensor(name, "U8", (2,), make, frozenset(reads))

    shards = {"x": [tensor("a", "1"), tensor("b", "1", "2")], "y": [tensor("c", "2", "3"), tensor("d")]}
    made = releasing(shards, lambda shard: events.append(f"drop {shard}"))
    assert {name: [each.name for each in tensors] for name, tensors in made.items()} == {
        "x": ["a", "b"],
        "y": ["c", "d"],
    }
    for tensors in made.values():
        assert all(b"".join(each.make()) == b"12" for each in tensors)
    assert events[:5] == ["a", "a made", "b", "b made", "drop 1"]
    assert events[5:7] == ["c", "c made"]
    assert set(events[7:9]) == {"drop 2", "drop 3"}
    assert events[9:] == ["d", "d made"]


def most_at_once(hub):
    """Counts, whenever a shard is asked for, those in the cache and that one."""
    counts = []
    hub.watch = lambda: counts.append(1 + len(list(hub.cache.rglob("*.safetensors"))))
    return counts


def run(ream, model, out, params, *more):  # noqa: F811
    code, told, err = ream(*compress(model, out, params, *more))
    assert code == 0, err
    return told


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ream", pytest.param("hc-smoe", marks=pytest.mark.slow)])
def test_compress_with_dropped_shards(method, deep, served, tmp_path, ream):  # noqa: F811
    params = tiny.write_params(tmp_path / "params")
    run(ream, deep, tmp_path / "local", params, "--method", method)
    counts = most_at_once(served)
    run(ream, NAME, tmp_path / "dropped", params, "--method", method, "--drop-shards")
    dropped, local = tiny.files(tmp_path / "dropped"), tiny.files(tmp_path / "local")
    assert dropped.keys() == local.keys()
    weights = [name for name in local if name.startswith(("model", "config", "token"))]
    assert all(dropped[name] == local[name] for name in weights)  # the card and recipe tell another model's name
    widest = max(map(len, spans(Checkpoint(deep)).values()))
    total = len(Checkpoint(deep).shards)
    assert max(counts) <= widest < total / 3
    assert len(counts) > total
    assert list(served.cache.rglob("*.safetensors")) == []


@pytest.mark.slow
def test_a_shard_that_was_there_stays(deep, served, tmp_path, ream):  # noqa: F811
    params = tiny.write_params(tmp_path / "params")
    first = min(Checkpoint(deep).shards)
    source_of(NAME).open(first).close()
    run(ream, NAME, tmp_path / "out", params, "--drop-shards")
    assert served.fetched.count(first) == 1
    assert [path.name for path in served.cache.rglob("*.safetensors")] == [first]


@pytest.mark.slow
def test_kept_shards_are_fetched_once_and_stay(deep, served, tmp_path, ream):  # noqa: F811
    params = tiny.write_params(tmp_path / "params")
    run(ream, NAME, tmp_path / "out", params)
    assert sorted(served.fetched) == sorted(Checkpoint(deep).shards)
    assert {path.name for path in served.cache.rglob("*.safetensors")} == set(Checkpoint(deep).shards)


def test_apply_with_dropped_shards(deep, served, tmp_path, ream):  # noqa: F811
    from ream.recipe.recipe_file import save_recipe

    hubs = Checkpoint(source_of(NAME))
    recipe = random_recipe(architecture_of(hubs), kept=4, digest=hubs.digest())
    save_recipe(tmp_path / "recipe.safetensors", recipe)
    counts = most_at_once(served)
    for out, option in (("dropped", "--drop-shards"), ("kept", "--keep-shards")):
        code, _, err = ream("apply", NAME, tmp_path / "recipe.safetensors", tmp_path / out, option)
        assert code == 0, err
        if option == "--drop-shards":
            assert list(served.cache.rglob("*.safetensors")) == []
            assert served.fetched == sorted(set(served.fetched))  # each once, in the order of the shards
    assert max(counts[: len(counts) // 2]) <= max(map(len, spans(Checkpoint(deep)).values()))
    assert tiny.files(tmp_path / "dropped") == tiny.files(tmp_path / "kept")


def test_an_interrupted_run_uses_and_drops_what_it_left(deep, served, tmp_path):
    shards = sorted(Checkpoint(deep).shards)
    source_of(NAME, keep_shards=False).open(shards[0]).close()  # by a process that is killed now
    again = source_of(NAME, keep_shards=False)
    again.open(shards[0]).close()
    assert served.fetched == shards[:1]
    again.drop(shards[0])
    assert list(served.cache.iterdir()) == [path for path in served.cache.iterdir() if path.name != ".ream-shards"]


def test_inspect_fetches_no_weights(deep, served, ream):  # noqa: F811
    code, out, err = ream("inspect", NAME)
    assert code == 0, err
    assert f"{NAME} @ {served.commit}" in out
    assert served.fetched == []
    assert served.sent < sum(path.stat().st_size for path in deep.glob("*.safetensors")) // 2 + 200_000


def test_reading_again_after_another_run_dropped_it(deep, served):
    read, local = Checkpoint(source_of(NAME, keep_shards=False)), Checkpoint(deep)
    name = next(iter(local.tensors))
    assert read.raw(name) == local.raw(name)
    read.source.drop(local.tensors[name].shard)
    assert torch.equal(read.read(name), local.read(name))
