"""`ream compress` killed (SIGKILL) at file operations and at random moments, then run again: as if nothing had been."""

import random
import re
from functools import cache

import pytest

from ream.machine.files import claimed, locked
from tests import tiny
from tests.commands.forking import program
from tests.compress.walks import loaded
from tests.subsets import some_slow

METHODS = ["ream", "hc-smoe"]  # one for each walk; both align
KILLED = -9
# What a run does, as operations on files (tests/commands/killing.py) in its order.
MOMENTS = {
    "reading the original": r"read .*/model/model-",
    "writing the manifest": r"rename .*manifest",
    "writing calibration": r"write .*parquet",
    "writing down the settings": r"rename .*request",
    "committing a layer": r"rename .*layer-",
    "committing hidden states": r"rename .*hidden-",
    "committing progress": r"rename .*progress",
    "dropping old hidden states": r"remove .*/hidden-",
    "writing the recipe": r"rename .*\.4\.safetensors",
    "writing a shard": r"write .*partial/\.model-",
    "writing the index": r"write .*partial/model.*index\.json",
    "writing the card": r"write .*README",
    "putting the output in its place": r"rename \.out\.partial$",
    "cleaning up": r"remove .*manifest",
    "ending": r"rmdir \.out\.ream$",
}


class Runs:
    """Runs `ream compress` in processes that can be killed."""

    def __init__(self, ask, model, params):
        self.ask, self.model, self.params = ask, model, params

    def __call__(self, folder, method, at=None, after=None, memory=8):
        folder.mkdir(parents=True, exist_ok=True)
        arguments = ["compress", self.model, "out", "--experts", "4", "--method", method, "--params", self.params]
        arguments += ["--set", "compute.threads=1", "--set", f"compute.hidden_memory_gb={memory}"]
        return self.ask(arguments=[*map(str, arguments)], folder=str(folder), at=at, after=after)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    model = tiny.build(folder / "model", layers=2)
    params = tiny.write_params(folder / "params", sequences=4, batch_tokens=48, probes=40)
    with program("killing") as ask:
        yield Runs(ask, model, params)


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """Gives, for a method, the files, operations and seconds of an uninterrupted run."""

    @cache
    def whole_of(method):
        folder = tmp_path_factory.mktemp("whole") / method
        answer = runs(folder, method)
        assert answer["code"] == 0, answer["said"]
        assert [path.name for path in folder.iterdir()] == ["out"]
        assert len(loaded(folder / "out").model.layers[0].mlp.experts.down_proj) == 4
        return tiny.files(folder / "out"), answer["operations"], answer["seconds"]

    return whole_of


def ended(runs, folder, method, expected):
    """Run to the end: the output equals the uninterrupted run's, and nothing lies beside it."""
    if sorted(path.name for path in folder.iterdir()) != ["out"]:  # killed when all was done
        answer = runs(folder, method)
        assert answer["code"] == 0, answer["said"]
    assert tiny.files(folder / "out") == expected
    assert [path.name for path in folder.iterdir()] == ["out"]


def places(operations, pattern, rng):
    """The number of one operation of a kind."""
    found = [number for number, line in enumerate(operations) if re.search(pattern, line)]
    return rng.choice(found)


@pytest.mark.timeout(600)  # 35 processes, on a busy machine
@pytest.mark.parametrize("method", some_slow(METHODS, keep=["ream"]))
def test_killed_at_every_kind_of_step_and_once_more_on_the_way(runs, whole, tmp_path, method):
    expected, operations, _ = whole(method)
    rng, again = random.Random(method), 0
    for number, (moment, pattern) in enumerate(MOMENTS.items()):
        folder = tmp_path / str(number)
        assert runs(folder, method, at=places(operations, pattern, rng))["code"] == KILLED, moment
        if number % 4 == 1:
            answer = runs(folder, method, at=rng.randrange(100))
            assert answer["code"] in (KILLED, 0), f"{moment}: {answer['said']}"
            again += answer["code"] == KILLED
        ended(runs, folder, method, expected)
    assert again >= 2


@pytest.mark.parametrize("method", some_slow(METHODS, keep=["ream"]))
def test_killed_at_random_moments(runs, whole, tmp_path, method):
    expected, _, longest = whole(method)
    rng, kills = random.Random(method), 0
    for number in range(30):
        folder = tmp_path / str(number)
        while (answer := runs(folder, method, after=rng.uniform(0.02, 0.8) * longest))["code"] == KILLED:
            kills += 1
            if (folder / "out").exists() or rng.random() < 0.4:
                break
        assert answer["code"] in (KILLED, 0), answer["said"]
        if answer["code"] == 0:
            longest *= 0.7  # this machine has become faster
        ended(runs, folder, method, expected)
        if kills >= 6:
            break
    assert kills >= 6


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_with_mapped_hidden_states_and_going_on_with_and_without_them(runs, whole, tmp_path, method):
    expected = whole(method)[0]
    operations = runs(tmp_path / "mapped", method, memory=0)["operations"]
    assert tiny.files(tmp_path / "mapped" / "out") == expected
    commits = [number for number, line in enumerate(operations) if re.search(r"rename .*progress", line)]
    assert sum(".map" in line for line in operations) > 3
    rng, first = random.Random(method), commits[0]
    for number, commit in enumerate((first, first + 1, first + 3, rng.randrange(first, commits[1]))):
        folder = tmp_path / str(number)
        assert runs(folder, method, at=commit, memory=0)["code"] == KILLED
        assert list(folder.glob(".out.ream/.state/*/hidden-?.map"))
        runs(folder, method, at=first + rng.randrange(-20, 20), memory=8 * (number % 2))
        ended(runs, folder, method, expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.timeout(3600)
def test_killed_at_every_step(runs, whole, tmp_path, method):
    """Before each change of a file or folder, and at a tenth of the reads between them."""
    expected, operations, _ = whole(method)
    steps = [number for number, line in enumerate(operations) if not line.startswith("read") or number % 10 == 0]
    for number in steps:
        folder = tmp_path / str(number)
        assert runs(folder, method, at=number)["code"] == KILLED
        ended(runs, folder, method, expected)
    assert len(steps) > 150


def one_line(answer, *words):
    assert answer["code"] == 2
    line = answer["said"].strip().splitlines()[-1]
    assert line.startswith("error: ")
    for word in words:
        assert word in line


@pytest.mark.slow
def test_a_second_run_on_one_output_is_refused_and_disturbs_nothing(runs, whole, tmp_path):
    folder = tmp_path / "two"
    runs(folder, "ream", at=places(whole("ream")[1], MOMENTS["committing progress"], random.Random(0)))
    with locked(folder / ".out.ream"):
        one_line(runs(folder, "ream"), ".out.ream is in use by another run")
    ended(runs, folder, "ream", whole("ream")[0])
    folder = tmp_path / "written"
    runs(folder, "ream", at=places(whole("ream")[1], MOMENTS["writing the index"], random.Random(0)))
    before = tiny.files(folder / ".out.partial")
    with claimed(folder / ".out.partial"):
        one_line(runs(folder, "ream"), ".out.partial is in use by another run")
    assert tiny.files(folder / ".out.partial") == before
    ended(runs, folder, "ream", whole("ream")[0])
