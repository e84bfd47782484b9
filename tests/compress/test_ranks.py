"""Ranks: two or three processes, as torchrun starts them, against one; killed, apart, failing, too many, refused."""

import json
import os
import re
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ream.compress.one_shot import read_probes
from ream.compress.ranks import Ranks, Share
from ream.compress.recipe_file import load_recipe
from ream.compress.statistics_file import read_sums
from ream.errors import UserError
from ream.files import locked
from ream.params.model import Compute
from ream.stages.workspace import Workspace
from tests import tiny

KILLED, LAYERS, SOURCES = -9, 3, ("a", "b")
ROUNDING = 1e-12  # of float64 sums of a few hundred terms, relative to the largest


class Runs:
    """Runs `ream ...` as ranks; of one rank it is the usual command, without torch.distributed."""

    def __init__(self, process, model, params):
        self.process, self.model, self.params = process, model, params

    def __call__(self, folder, *arguments, ranks=2, at=None, after=None, own=None):
        """``own``: of single ranks, arguments in place of the others'."""
        folder.mkdir(parents=True, exist_ok=True)
        each = [[*map(str, (own or {}).get(rank, arguments))] for rank in range(ranks)]
        job = {"arguments": each, "folder": str(folder), "at": at or {}, "after": after}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return SimpleNamespace(**answer)

    def compress(self, method="hc-smoe", model=None):
        words = ["compress", model or self.model, "out", "--experts", "4", "--method", method, "--threads", "1"]
        return [*words, "--params", self.params]

    def stage(self, source="a"):
        return ["stage", "statistics", "--source", source, "--params", self.params]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    model = tiny.build(folder / "model", layers=LAYERS)
    params = tiny.write_params(folder / "params", model=model, sequences=6, batch_tokens=48, probes=40)
    command = [sys.executable, "-m", "tests.compress.rank_runs"]
    with subprocess.Popen(command, cwd=tiny.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield Runs(process, model, params)
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.fixture(scope="module")
def whole(runs, tmp_path_factory):
    """An undisturbed run of two ranks: its answer and its files."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    answer = runs(folder, *runs.compress())
    assert answer.codes == [0, 0], answer.said
    assert [path.name for path in folder.iterdir()] == ["out"]
    return answer, tiny.files(folder / "out")


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


def prepared(runs, folder):
    """A workspace in which the stage statistics can run."""
    for words in (["model"], ["calibration", "--source", "a"]):
        answer = runs(folder, "stage", *words, "--params", runs.params, ranks=1)
        assert answer.codes == [0], answer.said
    return Workspace(folder / "artifacts")


@pytest.fixture(scope="module")
def alone(runs, tmp_path_factory):
    """A workspace with the statistics of a single process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    workspace = prepared(runs, folder)
    answer = runs(folder, *runs.stage(), ranks=1)
    assert answer.codes == [0], answer.said
    return folder, workspace.statistics("a"), tiny.files(workspace.statistics("a"))


@pytest.mark.parametrize("ranks", [2, 3])
def test_sums_are_those_of_a_single_process_and_probes_the_same_bytes(runs, alone, tmp_path, ranks):
    _, expected, _ = alone
    workspace = prepared(runs, tmp_path / "run")
    answer = runs(tmp_path / "run", *runs.stage(), ranks=ranks)
    assert answer.codes == [0] * ranks, answer.said
    assert [text.startswith("statistics of a:") for text in answer.printed] == [True] + [False] * (ranks - 1)
    assert answer.printed[1:] == [""] * (ranks - 1)
    found = workspace.statistics("a")
    assert (found / "facts.json").read_bytes() == (expected / "facts.json").read_bytes()
    for index in range(LAYERS):
        sums, wanted = read_sums(found, index).arrays(), read_sums(expected, index).arrays()
        for name, value in sums.items():
            assert value.dtype == np.float64
            assert value.shape == wanted[name].shape
            np.testing.assert_allclose(value, wanted[name], rtol=0, atol=ROUNDING * np.abs(wanted[name]).max())
        assert torch.equal(read_probes(found, index), read_probes(expected, index))
    assert not list(workspace.states.iterdir())
    again = runs(tmp_path / "run", *runs.stage(), ranks=1)  # one process takes them for its own
    assert not any("layer-" in line for line in again.operations[0])


def test_the_recipe_is_that_of_a_single_process(runs, whole, tmp_path):
    answer, _ = whole
    assert answer.printed[1] == ""
    assert "%|" not in answer.said[1]  # nor a bar
    single = runs(tmp_path / "run", *runs.compress(), ranks=1)
    assert single.codes == [0], single.said
    assert answer.printed[0].splitlines()[-1] == single.printed[0].splitlines()[-1]
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "recipe.safetensors").write_bytes(whole[1]["recipe.safetensors"])
    found = load_recipe(tmp_path / "two" / "recipe.safetensors")
    expected = load_recipe(tmp_path / "run" / "out" / "recipe.safetensors")
    assert found.facts == expected.facts
    for index, layer in expected.layers.items():
        assert np.array_equal(found.layers[index].groups.kept, layer.groups.kept)
        assert np.array_equal(found.layers[index].groups.group, layer.groups.group)
        np.testing.assert_allclose(found.layers[index].weights, layer.weights, rtol=ROUNDING)
        assert found.layers[index].permutations.keys() == layer.permutations.keys()
        for expert, order in layer.permutations.items():
            assert np.array_equal(found.layers[index].permutations[expert], order)


def standing(folder):
    """The layer at which each rank's state stands, by source and rank."""
    paths = sorted((folder / ".out.ream" / ".state").glob("statistics-*-rank-*/progress.json"))
    return {path.parent.name.removeprefix("statistics-"): json.loads(path.read_text())["next_layer"] for path in paths}


@pytest.mark.parametrize("behind", [0, 1])
def test_ranks_that_stand_a_layer_apart_end_as_if_nothing_had_been(runs, whole, tmp_path, behind):
    _, expected = whole
    at = ["rename .*a-rank-.*progress", 1]  # the totals of layer 1 are there, of both sources
    folder = tmp_path / "run"
    killed = runs(folder, *runs.compress(), at={behind: at})
    assert killed.codes == [KILLED if rank == behind else 2 for rank in range(2)]
    if behind == 1:
        assert len(errors(killed)[0]) == 1
        assert "goes on where this one stood" in errors(killed)[0][0]
    ahead = 1 - behind
    assert standing(folder) == {f"{source}-rank-{behind}": 1 for source in SOURCES} | {
        f"{source}-rank-{ahead}": 2 for source in SOURCES
    }
    went_on = runs(folder, *runs.compress())
    assert went_on.codes == [0, 0], went_on.said
    assert tiny.files(folder / "out") == expected

    def commits(rank, index):
        found = re.compile(rf"rename .*statistics-.*layer-{index:03d}")
        return sum(found.search(line) is not None for line in went_on.operations[rank])

    assert [commits(rank, 0) for rank in range(2)] == [0, 0]
    assert [commits(rank, 1) for rank in range(2)] == [2 * (rank == behind) for rank in range(2)]  # one a source
    assert [commits(rank, 2) for rank in range(2)] == [2, 2]


@pytest.mark.parametrize("times", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_both_killed_at_any_moment_go_on(runs, whole, tmp_path, times):
    answer, expected = whole
    rng, kills = np.random.default_rng(times), 0
    for number in range(times):
        folder = tmp_path / str(number)
        at = {rank: int(rng.integers(5, len(answer.operations[rank]))) for rank in range(2)}
        killed = runs(folder, *runs.compress(), at=at)
        kills += KILLED in killed.codes
        if not (folder / "out").exists() or (folder / ".out.ream").exists():
            went_on = runs(folder, *runs.compress())
            assert went_on.codes == [0, 0], went_on.said
        assert tiny.files(folder / "out") == expected
        assert [path.name for path in folder.iterdir()] == ["out"]
    assert kills > times / 2


def test_another_number_of_ranks_is_refused_by_name(runs, whole, tmp_path):
    _, expected = whole
    runs(tmp_path / "run", *runs.compress(), at={0: ["rename .*b-rank-0.*progress", 0]})
    assert "a-rank-0" in standing(tmp_path / "run")
    refused(runs(tmp_path / "run", *runs.compress(), ranks=3), "ranks was 2 and is 3 now")
    refused(runs(tmp_path / "run", *runs.compress(), ranks=1), "ranks was 2 and is not set now")
    assert runs(tmp_path / "run", *runs.compress()).codes == [0, 0]
    assert tiny.files(tmp_path / "run" / "out") == expected


@pytest.mark.slow
def test_a_stage_starts_anew_with_another_number_of_ranks(runs, tmp_path):
    workspace = prepared(runs, tmp_path / "run")
    answer = runs(tmp_path / "run", *runs.stage(), ranks=3, at={1: 60})
    assert KILLED in answer.codes
    assert list(workspace.states.glob("*-rank-2/progress.json"))
    answer = runs(tmp_path / "run", *runs.stage(), ranks=2)
    assert answer.codes == [0, 0], answer.said
    assert read_sums(workspace.statistics("a"), 0).tokens > 0
    assert not list(workspace.states.iterdir())


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_rank_before_the_walk_ends_all(runs, tmp_path, failing):
    other = [*runs.compress()[:-1], "none.yaml"]
    answer = runs(tmp_path / "run", *runs.compress(), ranks=3, own={failing: other})
    refused(answer, "none.yaml does not exist")


def test_an_error_of_one_rank_amid_the_walk_ends_all(runs, tmp_path):
    workspace = prepared(runs, tmp_path / "run")
    in_the_way = workspace.state("statistics", "a", "rank", "1") / "layer-001.safetensors"
    in_the_way.mkdir(parents=True)
    answer = runs(tmp_path / "run", *runs.stage())
    refused(answer, "layer-001.safetensors cannot be written")
    in_the_way.rmdir()
    assert runs(tmp_path / "run", *runs.stage()).codes == [0, 0]


def test_a_state_in_use_ends_all(runs, tmp_path):
    workspace = prepared(runs, tmp_path / "run")
    state = workspace.state("statistics", "a", "rank", "1")
    with locked(state):
        refused(runs(tmp_path / "run", *runs.stage()), "statistics-a-rank-1 is in use by another run")


def test_more_ranks_than_micro_batches_are_refused(runs, tmp_path):
    prepared(runs, tmp_path / "run")
    answer = runs(tmp_path / "run", *runs.stage(), ranks=4)
    refused(answer, "4 ranks", "source a has 3 micro-batches", "lower compute.batch_tokens")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compress", "MODEL", "out", "--experts", "4", "--method", "ream"], "method 'ream' is sequential"),
        (["compress", "owner/name", "out", "--experts", "4", "--method", "reap", "--drop-shards"], "--keep-shards"),
        (["stage", "saliency", "--mix", "balanced"], "stage saliency is not shared out over ranks"),
        (["stage", "statistics", "--source", "a", "--shard", "0", "--shards", "2"], "leave them out"),
        (["inspect", "MODEL"], "ream inspect is not shared out over ranks"),
        (["compress", "--expert", "3"], "--help says what there is"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_is_not_shared_out_is_refused_at_once(runs, tmp_path, words, said):
    given = [str(runs.model) if word == "MODEL" else word for word in words]
    more = ["--params", runs.params] if given[0] != "inspect" else []
    refused(runs(tmp_path / "run", *given, *more), said)
    assert not list((tmp_path / "run").iterdir())


def test_help_is_no_error_of_ranks(runs, tmp_path):
    assert runs(tmp_path / "run", "--help").codes == [0, 0]


@pytest.mark.slow
def test_torchrun_itself(runs, whole, tmp_path):
    """The processes that torchrun starts: the same bytes; and an error, which ends it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "ream"]
    environment = os.environ | {"PYTHONPATH": str(tiny.ROOT)}

    def torchrun(*words):
        return subprocess.run(
            [*command, *map(str, words)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )

    done = torchrun(*runs.compress())
    assert done.returncode == 0, done.stderr
    assert tiny.files(tmp_path / "out") == whole[1]
    failed = torchrun(*runs.compress("ream"))
    assert failed.returncode != 0
    assert failed.stderr.count("error: method 'ream' is sequential") == 1
    assert "exitcode  : 2" in failed.stderr
